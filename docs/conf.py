"""The site. `make docs` builds it in build/docs.

The source folder is the repository, so that links from a page to files outside of docs/ hold here and on a hosting
site. Pages are Markdown; `gallery` and `api` are generated.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = str(ROOT)  # of commands that examples run

from asysvrg import __version__  # noqa: E402

project = "asysvrg"
author = "The asysvrg developers"
copyright = author
version = release = __version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
root_doc = "docs/index"
include_patterns = [
    "docs/**", "bench/README.md", "bench/history/*.md",
    "CHANGELOG.md", "CONTRIBUTING.md", "CODE_OF_CONDUCT.md", "SECURITY.md",
]  # fmt: skip
exclude_patterns = ["docs/gallery/*.ipynb", "docs/gallery/*.py", "docs/gallery/**/*.zip", "docs/_*"]
templates_path = [str(ROOT / "docs" / "_templates")]
highlight_language = "none"

# ---- Markdown: links to headings as hosting sites make them ----

myst_heading_anchors = 4

# ---- API ----

autosummary_generate = True
autosummary_imported_members = False
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
numpydoc_xref_param_type = False
toc_object_entries_show_parents = "hide"

# ---- Gallery ----

sphinx_gallery_conf = {
    "examples_dirs": ["examples"],
    "gallery_dirs": ["docs/gallery"],
    "backreferences_dir": "docs/api/examples",
    "doc_module": ("asysvrg",),
    "reference_url": {"asysvrg": None},
    "within_subsection_order": "FileNameSortKey",
    "write_computation_times": False,
    "show_memory": False,
    "show_signature": False,
    "download_all_examples": False,
    "abort_on_example_error": True,
    "remove_config_comments": True,
    "min_reported_time": 1,
}
warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive")
warnings.formatwarning = lambda message, category, *_, **__: f"{category.__name__}: {message}\n"  # without a path

# ---- HTML ----

html_theme = "pydata_sphinx_theme"
html_title = f"asysvrg {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_extra_path = ["_start"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "asysvrg"},
    "navbar_align": "left",
    "header_links_before_dropdown": 7,
    "show_nav_level": 1,
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
    "secondary_sidebar_items": ["page-toc"],
}
copybutton_prompt_text = ">>> "

# ---- Navigation: here, and not in the pages, which hosting sites show as they are. ----


def present(*names):
    """Those of the pages that this checkout has."""
    return [name for name in names if (ROOT / "docs" / f"{name}.md").exists()]


PAGES_BELOW = {
    "docs/index": [
        "install", "quickstart", "guide", "gallery/index", "api", "how-it-works", "performance", "theory", "/CHANGELOG",
        "/CONTRIBUTING",
    ],
    "docs/install": present("platforms"),
    "docs/quickstart": ["from-mlpclassifier", "when-not", "faq"],
    "docs/guide": ["command-line", "cluster", "simulator", "model-file", *present("ecosystem")],
    "docs/how-it-works": ["method", "executions", "distributed", "sparse-and-tiles", "design"],
    "docs/performance": [
        "panel", "defaults", "speedup", "ablation", "/bench/README", "/bench/history/epyc", "/bench/history/avx512",
        "/bench/history/amx", "/bench/history/panel-xeon", "/bench/history/panel-epyc",
        "/bench/history/ablation", "/bench/history/ablation-epyc",
    ],
    "docs/theory": ["paper"],
    "docs/paper": present("figures/verdict"),
    "CONTRIBUTING": ["CODE_OF_CONDUCT", "SECURITY"],
}  # fmt: skip
FOLDER = re.compile(r"\[([^]]+)\]\((?!http)[^)\s]*/\)")
EXAMPLE = re.compile(r"\]\((?:\.\./)?examples/(plot_\w+)\.py\)")
PICTURE = re.compile(r"!\[[^]]*\]")


def adapt(app, page, source):
    """Adds the list of the pages below a page. Links to example files lead to their pages; those to folders go.

    Words at the ends of lines in a picture's description stay apart: MyST joins the lines without a blank.
    """
    source[0] = PICTURE.sub(lambda found: found[0].replace("\n", " "), source[0])
    source[0] = EXAMPLE.sub(r"](/docs/gallery/\1.rst)", FOLDER.sub(r"\1", source[0]))
    names = "\n".join(PAGES_BELOW.get(page, []))
    if names:
        source[0] += f"\n```{{toctree}}\n:hidden:\n\n{names}\n```\n"


REFERENCE = re.compile(r":(?:ref|term):`([^`<]+?)\s*(?:<[^`>]+>)?`")


def without_references(app, what, name, obj, options, lines):
    """Inherited docstrings of scikit-learn refer to pages of its own site."""
    lines[:] = [REFERENCE.sub(r"\1", line) for line in lines]


def setup(app):
    app.connect("source-read", adapt)
    app.connect("autodoc-process-docstring", without_references)
