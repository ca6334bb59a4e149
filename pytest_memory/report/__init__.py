"""One view of the results, rendered as text, HTML, pytest-html sections and GitHub Markdown."""
