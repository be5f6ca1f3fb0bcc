"""Makes a page of a model and its runs: one HTML file, which needs nothing beside it.

python tools/report.py runs/clicks                          writes report.html
python tools/report.py runs/clicks --out=clicks.html        to another file
python tools/report.py runs/clicks --against=runs/other     both models' curves in one picture, and the flags that differ
python tools/report.py runs/clicks --export_dir=models      where its versions are, if not where its flags say
python tools/report.py runs/clicks --charts=pictures        also writes each chart as an SVG file of its own

A trainer may go on in the folder: it is only read. The page has no content of any row but the names of the values of --metrics_by.
"""

import argparse
import os
import pathlib
import re

from command_line import Parser, run

from tfonline.lifecycle import Exit, UserError


def main(argv: list[str]) -> int:
    """Writes the page; returns the exit code."""
    args = _parse(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from report_page import page
    from report_read import read_model

    model = read_model(args.model_dir, args.export_dir)
    other = read_model(args.against) if args.against else None
    written = page(model, other)
    try:
        args.out.write_text(written)
    except OSError as e:
        raise UserError(f"--out={args.out} cannot be written ({e.strerror}). Give another file.", Exit.CANNOT_WRITE) from e
    charts = ""
    if args.charts:
        try:
            charts = f" charts={_write_charts(written, args.charts)}"
        except OSError as e:
            raise UserError(
                f"--charts={args.charts} cannot be written ({e.strerror}). Give another folder.", Exit.CANNOT_WRITE
            ) from e
    rows = model.last("train/stream/rows") or 0
    print(f"report: file={args.out} bytes={len(written.encode()):,} runs={len(model.runs)} rows={rows:,.0f}{charts}")
    return Exit.OK


def _write_charts(page: str, folder: pathlib.Path) -> int:
    """Writes each chart of a page into a file named by its title; returns how many there are."""
    from report_charts import standalone

    folder.mkdir(parents=True, exist_ok=True)
    charts: dict[str, str] = {}
    for svg, title in re.findall(r'(<svg class="chart" [^>]*aria-label="([^"]*)">.*?</svg>)', page):
        name = re.sub(r"\W+", "_", title.partition(":")[0].lower()).strip("_") + ("_over_time" if "time (UTC)" in svg else "")
        charts.setdefault(name, svg)  # one more of that name is of the model that it is held against
    for name, svg in charts.items():
        (folder / f"{name}.svg").write_text(standalone(svg))
    return len(charts)


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="report.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir", type=pathlib.Path, help="a --model_dir of the trainer")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("report.html"), help="the file (default: report.html)")
    parser.add_argument("--against", type=pathlib.Path, metavar="OTHER", help="the --model_dir of a model to compare with")
    parser.add_argument("--export_dir", type=pathlib.Path, help="where its versions are (default: as its flags say)")
    parser.add_argument("--charts", type=pathlib.Path, metavar="FOLDER", help="write each chart as an SVG file, too")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
