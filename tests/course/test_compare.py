"""What a check says when two results differ, and what it lets through."""

import numpy as np
import pytest
import torch

from dcar_edu.course.compare import (
    Spy,
    Wrong,
    copied,
    describe,
    expect_error,
    rejects,
    same,
    same_as_library,
    same_gradient,
)

B, C, H, W = 2, 5, 3, 4
WANT = torch.linspace(-1, 2, B * C * H * W).reshape(B, C, H, W)


@pytest.mark.parametrize(
    ("got", "want"),
    [
        (WANT.clone(), WANT),
        (WANT.double(), WANT),
        (WANT.numpy(), WANT),
        (WANT + 1e-7, WANT),
        (torch.tensor(3), 3),
        (np.float64(0.25), 0.25),
        (1, 1.0),
        ((1, 2), [1, 2]),
        ({"a": WANT, "b": 2}, {"a": WANT, "b": 2}),
        (torch.tensor([1], dtype=torch.int32), torch.tensor([1])),
        (None, None),
        ("train", "train"),
    ],
)
def test_equal_results_pass(got, want):
    same(got, want, "it")


@pytest.mark.parametrize(
    ("got", "want", "words"),
    [
        (None, WANT, "got None.*return"),
        (WANT.mT, WANT, r"got shape \(2, 5, 4, 3\), expected shape \(2, 5, 3, 4\).*another order"),
        (WANT[0], WANT, r"got shape \(5, 3, 4\), expected shape \(2, 5, 3, 4\)"),
        (WANT.long(), WANT, "got type torch.int64, expected torch.float32"),
        (WANT > 0, WANT, "got type torch.bool"),
        (3.0, WANT, "got 3, expected a tensor of shape"),
        (-WANT, WANT, "wrong sign"),
        (WANT * 4, WANT, "Every value is 4 times"),
        (WANT + 0.5, WANT, r"off by the same \+0.5"),
        (WANT.flip(1), WANT, "right, but they stand in the wrong places"),
        (torch.where(WANT.max() == WANT, torch.nan, WANT), WANT, "1 values are nan"),
        ((8, 16), (16, 8), r"got tuple \(8, 16\), expected tuple \(16, 8\).*part 0: got 8"),
        ((8,), (16, 8), r"got tuple \(8,\), expected tuple \(16, 8\)"),
        (8, (16, 8), r"got 8, expected tuple \(16, 8\)"),
        ({"a": 1}, {"b": 1}, r"expected dict \{'b': 1\}"),
        ({"a": 1}, {"a": 2}, "entry 'a': got 1, expected 2"),
        (True, 1, "got True, expected 1"),
        (2, 1, "got 2, expected 1"),
        (1.5, 1, "got 1.5, expected 1"),
        (0.26, 0.25, "got 0.26, expected 0.25"),
        ("test", "train", "got 'test', expected 'train'"),
    ],
)
def test_a_difference_is_named(got, want, words):
    with pytest.raises(Wrong, match=f"the thing.*{words}"):
        same(got, want, "the thing")


def test_the_first_bad_place_and_both_values_are_named():
    got = WANT.clone()
    got[1, 2, 0, 3] = 9
    got[1, 4, 2, 1] = 8
    want = WANT[1, 2, 0, 3].item()
    with pytest.raises(Wrong, match=r"2 of 120 values differ. First at index \(1, 2, 0, 3\)") as e:
        same(got, WANT, "it")
    assert f"got 9, expected {want:.5g}" in str(e.value)
    assert "Every value" not in str(e.value)


def leaf(value):
    return torch.full((3, 2), value, requires_grad=True)


def test_same_gradient_lets_equal_gradients_through():
    z, q = leaf(1.0), leaf(2.0)
    same_gradient(z * q, q * z, {"z": z, "q": q}, "product")


@pytest.mark.parametrize(
    ("wrong", "right", "words"),
    [
        (lambda z, q: z * 4 + q, lambda z, q: z + q, "gradient on z is not.*4 times"),
        (lambda z, q: z.detach() + q, lambda z, q: z + q, "gradient on z is not: got none"),
        (lambda z, q: z + q, lambda z, q: z + q.detach(), "gradient on q is not.*expected none"),
        (lambda z, q: (z + q).detach(), lambda z, q: z + q, "got none at all"),
    ],
)
def test_a_wrong_gradient_is_named(wrong, right, words):
    z, q = leaf(1.0), leaf(2.0)
    with pytest.raises(Wrong, match=words):
        same_gradient(wrong(z, q), right(z, q), {"z": z, "q": q}, "the loss")


def test_rejects_wants_the_right_kind_of_error():
    def strict(n):
        if n < 0:
            raise ValueError("no")
        return n

    rejects(strict, -1, what="a negative number")
    with pytest.raises(Wrong, match="a big number: expected a ValueError, got 5 without any error"):
        rejects(strict, 5, what="a big number")
    with pytest.raises(Wrong, match="expected a ValueError, got TypeError"):
        rejects(strict, "a", what="a word")


def test_rejects_leaves_an_unwritten_answer_unwritten():
    def stub(n):
        raise NotImplementedError("00.1")

    with pytest.raises(NotImplementedError):
        rejects(stub, 1, what="anything")


def test_spy_keeps_calls_as_they_were():
    spy = Spy(lambda t, step: t.add_(step))
    tensor = torch.zeros(2)
    assert spy(tensor, step=1).tolist() == [1, 1]
    spy(tensor, 1)
    assert [call[0].tolist() for call in spy.calls] == [[0, 0], [1, 1]]
    assert [call[1] for call in spy.calls] == [1, 1]


def test_copied_reaches_into_tuples_lists_and_dicts():
    tensor, array = torch.zeros(1, requires_grad=True), np.zeros(1)
    copy = copied(({"a": tensor}, [array], 3))
    array[0] = 1
    assert copy[0]["a"] is not tensor
    assert copy[0]["a"].requires_grad
    assert copy[1][0][0] == 0
    assert copy[2] == 3


def test_describe_says_small_tensors_whole_and_cuts_long_lists():
    assert "values [1, 2]" in describe(torch.tensor([1, 2]))
    assert "values" not in describe(WANT)
    assert len(describe(list(range(1000)))) < 140


def test_same_as_library_says_which_and_how_far(capsys):
    def inputs():
        return (torch.arange(6.0).reshape(2, 3),)

    assert same_as_library(torch.exp, torch.exp, inputs)
    assert "largest difference 0.0e+00 over 6 values" in capsys.readouterr().out
    assert not same_as_library(lambda x: x.exp() + (x == 4), torch.exp, inputs)
    assert "First at index (1, 1)" in capsys.readouterr().out


def test_same_as_library_gives_each_its_own_inputs(capsys):
    tensor = torch.ones(3)
    assert same_as_library(lambda x: x.add_(1), lambda x: x + 1, lambda: (tensor,))
    assert tensor.tolist() == [1, 1, 1]


def test_expect_error_prints_the_error_it_was_promised(capsys):
    expect_error(lambda: int("x"), contains="invalid literal")
    assert capsys.readouterr().out.startswith("ValueError: invalid literal")
    with pytest.raises(ValueError, match="the call went through"):
        expect_error(lambda: 1, contains="anything")
    with pytest.raises(ValueError, match="wants a message with 'zebra', got: invalid"):
        expect_error(lambda: int("x"), contains="zebra")
