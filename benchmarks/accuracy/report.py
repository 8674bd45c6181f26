"""Write the tables of docs/accuracy.md from benchmarks/accuracy/results/*.json.

python -m benchmarks.accuracy.report
"""

import json
import re
from pathlib import Path

from benchmarks.accuracy import table

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "accuracy.md"
BEGIN, END = "<!-- tables: written by benchmarks.accuracy.report -->", "<!-- end of tables -->"


def main() -> None:
    parts = []
    for path in sorted((HERE / "results").glob("*.json")):
        held = json.loads(path.read_text())
        if "split" not in held:
            continue
        split, budget = held["split"], held["budget"]
        parts.append(
            f"### {split['data']}, {split['protocol']}\n\n"
            f"{split['asked']:,} people asked, {split['targets']:,} targets, {split['items']:,} "
            f"items; questions `{split['targets_hash']}`, data `{split['data_hash']}`; seed "
            f"{budget['seed']}, {held['machine']['cores']} cores. {split['note']}.\n\n"
            f"`python -m benchmarks.accuracy --data {split['data']} --protocol "
            f"{split['protocol']}`\n\n"
            + table.markdown(held["models"], held["best_peer"], held["paired_with_best_peer"])
        )
    text = PAGE.read_text()
    inside = f"{BEGIN}\n\n" + "\n\n".join(parts) + f"\n\n{END}"
    text = re.sub(f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: inside, text, flags=re.S)
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
