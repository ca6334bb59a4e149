"""Write the pages and schemas that are made from tables: docs/options.md and docs/*.schema.json.

Run by ``make docs``; tests/test_docs.py fails when a file is not what this would write.
"""

from __future__ import annotations

import json
from pathlib import Path

from pytest_memory import baseline, markers, metrics, results, spec
from pytest_memory.units import format_duration, format_size

DOCS = Path(__file__).parent


def options_page() -> str:
    """docs/options.md from the OPTIONS table."""
    lines = [
        "# Options",
        "",
        "Made from the table in `pytest_memory/spec.py` by `make docs`.  Each setting can be given in several places;",
        "the weakest comes first: default < `memory-config.json` < ini or pyproject < environment < option < marker",
        "< call.",
        "",
        "| pytest option | ini key | environment | marker | memory-config.json | default | what it does |",
        "|---|---|---|---|---|---|---|",
    ]
    for option in spec.OPTIONS:
        flag = option.pytest_flag + ("" if option.is_flag else f"={option.metavar}")
        cells = [
            code(flag),
            code(option.ini_key),
            code(option.environment_key),
            code(f"@pytest.mark.{option.marker}(…)") if option.marker else "",
            code(option.config_key) if option.config_key else "",
            "" if option.default in (None, False) else code(str(option.default)),
            option.help.replace("%%", "%"),
        ]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    lines += ["", "## Markers", ""]
    lines += [f"- `{signature}`: {text}." for signature, text in markers.MARKER_HELP]
    for marker, keywords in (("node_app", markers.NODE_APP_KEYWORDS), ("no_leaks", markers.NO_LEAKS_KEYWORDS)):
        lines += ["", f"### Keywords of `{marker}`", "", "| keyword | meaning |", "|---|---|"]
        lines += [f"| `{keyword}` | {meaning} |" for keyword, meaning in keywords.items()]
    return "\n".join(lines) + "\n"


def baseline_page() -> str:
    """docs/baseline.md with its table of metrics made anew; all else in it is written by hand."""
    lines = [
        "| metric | unit | judged | least tolerance | expected noise (one standard deviation) | what it is |",
        "|---|---|---|---|---|---|",
    ]
    for metric in metrics.METRICS:
        floor = either(metric.floor, metric.floor_percent, metric.unit)
        noise = either(metric.noise, metric.noise_percent, metric.unit)
        lines.append(f"| `{metric.name}` | {metric.unit} | {metric.judged} | {floor} | {noise} | {metric.help} |")
    begin, end = "<!-- metrics: made by `make docs` -->\n", "<!-- end of metrics -->"
    before, _, rest = (DOCS / "baseline.md").read_text(encoding="utf-8").partition(begin)
    return before + begin + "\n".join(lines) + "\n" + end + rest.partition(end)[2]


def either(amount: float, percent: float, unit: str) -> str:
    """A metric's amount or percentage, whichever is more."""
    texts = [f"{percent:g} %"]
    if amount and unit in ("bytes", "bytes/unit"):
        texts.append(format_size(amount) + (" / units of work" if unit == "bytes/unit" else ""))
    elif amount:
        texts.append(format_duration(amount) if unit == "s" else f"{amount:g}")
    return " or ".join(texts)


def code(text: str) -> str:
    return f"`{text}`"


def schema_text(schema: dict[str, object]) -> str:
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def pages() -> dict[str, str]:
    """Every generated file by its name."""
    return {
        "options.md": options_page(),
        "memory-config.schema.json": schema_text(spec.config_schema()),
        "results.schema.json": schema_text(results.document_schema()),
        "baseline.schema.json": schema_text(baseline.baseline_schema()),
        "baseline.md": baseline_page(),
    }


def main() -> None:
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")
        print(f"wrote docs/{name}")


if __name__ == "__main__":
    main()
