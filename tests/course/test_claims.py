"""The table of claims: from results to the README."""

import json

import pytest

from dcar_edu.course import claims
from dcar_edu.course.claims import BEGIN, END, Claim, Runs, claims_table, write_claims


@pytest.fixture
def root(tmp_path):
    """Three seeds of two arms, out of order, beside a run at another budget."""
    folder = tmp_path / "lessons" / "results"
    folder.mkdir(parents=True)
    lines = [
        {"arm": arm, "budget": "cpu", "seed": seed, "metrics": {"psnr": psnr, "kid": 50 - psnr}}
        for seed, a, b in ((2, 23.2, 21.1), (0, 20.1, 18.0), (1, 22.0, 19.8))
        for arm, psnr in (("new", a), ("old", b))
    ]
    lines.append({"arm": "new", "budget": "smoke", "seed": 3, "metrics": {"psnr": 1.0}})
    lines.append({"arm": "new", "budget": "smoke", "seed": 0, "metrics": {"psnr": 2.0}})
    (folder / "99_arms.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "README.md").write_text(f"before\n{BEGIN}\nold table\n{END}\nafter\n")
    return tmp_path


def test_one_number_a_seed_in_their_order_and_of_one_budget(root):
    assert Runs(root, "99_arms").values("new", "psnr") == [20.1, 22.0, 23.2]
    assert Runs(root, "99_arms").mean("old", "psnr") == pytest.approx(19.633, abs=1e-3)
    assert Runs(root, "99_arms", "smoke").values("new", "psnr") == [2.0, 1.0]


def test_a_comparison_says_means_and_verdict(root):
    runs = Runs(root, "99_arms")
    assert runs.compare("new", "old", "psnr") == "21.77 against 19.63: better"
    assert runs.compare("old", "new", "psnr", ".1f") == "19.6 against 21.8: worse"
    assert runs.compare("new", "new", "psnr") == "21.77 against 21.77: cannot tell"
    assert runs.compare("new", "old", "kid", lower_is_better=True).endswith(": better")


def test_what_is_missing_is_named(root):
    with pytest.raises(ValueError, match="no arm 'older' at cpu: it has new, old"):
        Runs(root, "99_arms").values("older", "psnr")
    with pytest.raises(ValueError, match="seed 2 has no 'ssim': it has psnr, kid"):
        Runs(root, "99_arms").values("old", "ssim")


def test_the_table_goes_between_the_comments(root, monkeypatch, capsys):
    row = Claim("so it is", lambda of: f"{of.runs('99_arms').mean('new', 'psnr'):.1f}", "lesson 99")
    monkeypatch.setattr(claims, "CLAIMS", (row,))
    assert write_claims(check=True, root=root) == 1
    assert "old table" in (root / "README.md").read_text()
    assert write_claims(root=root) == 0
    text = (root / "README.md").read_text()
    assert text == f"before\n{BEGIN}\n{claims_table(root)}\n{END}\nafter\n"
    assert "| so it is | 21.8 | lesson 99 |" in text
    capsys.readouterr()
    assert write_claims(check=True, root=root) == 0
    assert capsys.readouterr().out == ""


def test_a_readme_without_the_comments_is_left_alone(root):
    path = root / "README.md"
    path.write_text(f"before {BEGIN} after")
    with pytest.raises(ValueError, match="lacks one of them"):
        write_claims(root=root)
    assert path.read_text() == f"before {BEGIN} after"


def test_the_readme_holds_the_results_of_this_repository(capsys):
    assert write_claims(check=True) == 0, "run: dcar course claims"
