#!/usr/bin/env bash
# Resolve pyproject.toml into exact versions: core.txt, and what each set adds to it.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
frozen() { "$1/bin/pip" --disable-pip-version-check freeze --exclude lifeloop | sed "s/+cpu$//" | sort -f; }
resolve() { # name, extras, constraints…
  local name=$1 extras=$2; shift 2
  "${PYTHON:-python3}" -m venv "$work/$name"
  local args=()
  for file in "$@"; do args+=(-c "$file"); done
  "$work/$name/bin/pip" --disable-pip-version-check install -q "${args[@]}" ".$extras"
  frozen "$work/$name" > "$work/$name.txt"
}
header() { echo "# Exact versions, written by make lock; ranges are in pyproject.toml."; }
resolve core ""
resolve demo "[text,demo]" "$work/core.txt"
resolve extras "[text,demo,postgres,train,onnx,minilm,ann,survival,media]" "$work/core.txt" "$work/demo.txt" requirements/constraints-cpu.txt
resolve dev "[dev]" "$work/core.txt" "$work/extras.txt"
{ header; cat "$work/core.txt"; } > requirements/core.txt
added() { comm -13 <(sort "$1") <(sort "$2"); }
{ header; added "$work/core.txt" "$work/demo.txt"; } > requirements/demo.txt
{ header; added "$work/demo.txt" "$work/extras.txt"; } > requirements/extras.txt
{ header; added "$work/core.txt" "$work/dev.txt"; } > requirements/dev.txt
rm -rf build
