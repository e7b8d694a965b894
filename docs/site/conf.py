"""How the documentation site is built (`make docs-site`): Sphinx over docs/, this folder for what only the site needs."""

from __future__ import annotations

import locale
import sys
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

locale.setlocale(locale.LC_NUMERIC, "C")  # Sphinx takes the environment's, which the library of units cannot set back under every name

import doors  # noqa: E402  (beside this file)

import orbit2  # noqa: E402

project = "orbit2"
author = "The orbit2 developers"
copyright = "the orbit2 developers, MIT licence"
version = release = orbit2.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx_copybutton"]
root_doc = "index"
exclude_patterns = ["notebooks/*.py", "**/.ipynb_checkpoints"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
language = "en"
smartquotes = False  # texts are as they were typed

# Pages: links and anchors as GitHub has them. Notebooks are shown as they were executed, never run here.
myst_heading_anchors = 4
myst_links_external_new_tab = False
nb_execution_mode = "off"
nb_merge_streams = True

# Reference: docstrings are plain English with `code` between backticks.
default_role = "code"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True, "show-inheritance": False}
maximum_signature_line_length = 100
python_use_unqualified_type_names = True
add_module_names = False

html_theme = "furo"
html_title = f"orbit2 {version}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": True,
    "light_css_variables": {"color-brand-primary": "#1f5c99", "color-brand-content": "#1f5c99"},
    "dark_css_variables": {"color-brand-primary": "#7db8f0", "color-brand-content": "#7db8f0"},
}
copybutton_exclude = ".linenos, .gp, .go"


def setup(app: Sphinx) -> None:
    """Pages of other folders, the sidebar by question, docstrings as plain text."""
    app.connect("source-read", doors.read)
    app.connect("autodoc-process-docstring", doors.plain)
