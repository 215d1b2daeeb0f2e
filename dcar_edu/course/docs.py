"""``make docs``: a static site of the API pages and the executed lessons.

The site needs no server: open ``build/site/index.html``.
"""

import html
import json
import pkgutil
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import dcar_edu
from dcar_edu.checkpoint import write_atomically

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>dcar_edu</title>
<style>body {{ max-width: 42em; margin: 3em auto; padding: 0 1em;
  font: 1.1em/1.6 system-ui, sans-serif; }}</style>
<h1>dcar_edu {version}</h1>
<p>DC-AR, built step by step: the executed lessons and the library they build.</p>
<h2>Lessons</h2>
<ul>
{lessons}
</ul>
<h2>Library</h2>
<p><a href="api/dcar_edu.html">API pages</a></p>
</html>
"""


def build_site(notebooks: Sequence[Path], out: Path) -> Path:
    """Write the site.

    Args:
        notebooks: executed notebooks, in the order of the course.
        out: the folder to fill; pages of an earlier build are replaced.

    Returns:
        The index page.

    Raises:
        ValueError: there is no notebook.
    """
    if not notebooks:
        raise ValueError("no executed notebook found in solutions/. Run: make notebooks")
    links = []
    for notebook in notebooks:
        page = Path("lessons") / f"{notebook.stem}.html"
        write_atomically(out / page, lesson_page(notebook).encode())
        links.append(f'<li><a href="{page.as_posix()}">{html.escape(title(notebook))}</a></li>')
    write_api(out / "api")
    index = PAGE.format(version=dcar_edu.__version__, lessons="\n".join(links))
    write_atomically(out / "index.html", index.encode())
    return out / "index.html"


def lesson_page(notebook: Path) -> str:
    """The notebook as one HTML page, with the outputs it holds."""
    from nbconvert import HTMLExporter

    page, _ = HTMLExporter(template_name="classic").from_filename(str(notebook))
    return page


def title(notebook: Path) -> str:
    """The first heading of a notebook, or its file name."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    lines = (line for cell in cells for line in "".join(cell["source"]).splitlines())
    return next((line[2:] for line in lines if line.startswith("# ")), notebook.stem)


def write_api(out: Path) -> None:
    """Write one page for each module of ``dcar_edu``."""
    import pdoc

    # Named one by one: pdoc leaves out the modules that a package's __all__ does not name.
    modules = pkgutil.walk_packages(dcar_edu.__path__, "dcar_edu.")
    names = [module.name for module in modules if module.name != "dcar_edu.__main__"]
    pdoc.render.configure(docformat="google")
    with warnings.catch_warnings():
        # A package without __all__ brings its modules itself; naming them again does no harm.
        warnings.filterwarnings("ignore", "The module specification")
        pdoc.pdoc("dcar_edu", *names, output_directory=out)


def main(out: str) -> int:
    """Build the site from ``solutions/`` of the checkout into ``out``; the exit code."""
    root = Path(dcar_edu.__file__).parents[1]
    try:
        index = build_site(sorted((root / "solutions").glob("*.ipynb")), Path(out))
    except ValueError as error:
        print(f"docs: error: {error}", file=sys.stderr)
        return 1
    print(index)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
