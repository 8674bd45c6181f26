"""Commands of the service: serve, and the keys that it asks for."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lifeloop.cli.session import AsJson, Folder, failing_well, opened, out, print_json, table

if TYPE_CHECKING:
    from lifeloop.serve.keys import Key

KeyId = Annotated[str, typer.Argument(help="id of the key, from `lifeloop keys list`")]


def serve(
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="port to listen on")] = 8321,
    workers: Annotated[int, typer.Option(min=1, max=64, help="processes")] = 1,
    origin: Annotated[
        list[str] | None,
        typer.Option(help="web origin whose pages may send events, repeatable"),
    ] = None,
    requests_per_s: Annotated[
        float, typer.Option(min=0.1, help="sustained rate per key and process")
    ] = 2000.0,
    log_level: Annotated[str, typer.Option(help="info, warning or error")] = "info",
    folder: Folder = Path("."),
) -> None:
    """Serve the REST API until stopped; the first run prints an admin key once."""
    from lifeloop.serve.process import first_account, first_key, run
    from lifeloop.serve.settings import ServeSettings

    with opened(folder) as loop:
        text = first_key(loop, at_us=loop.clock())
        account = first_account(loop, at_us=loop.clock())
    if text is not None:
        out.print("first run: this admin key is shown once and cannot be read again")
        out.print(text, markup=False, highlight=False, soft_wrap=True)
    if account is not None:
        out.print(f"first run: sign in at /login as {account[0]} with this password, shown once")
        out.print(account[1], markup=False, highlight=False, soft_wrap=True)
    out.print(f"listening on http://{host}:{port} with {workers} workers", highlight=False)
    with failing_well():
        run(
            folder,
            host=host,
            port=port,
            workers=workers,
            settings=ServeSettings(origins=tuple(origin or ()), requests_per_s=requests_per_s),
            log_level=log_level,
        )


def keys_create(
    role: Annotated[list[str], typer.Option(help="ingest, read, operate or admin; repeatable")],
    name: Annotated[str, typer.Option(help="whose key it is")] = "",
    folder: Folder = Path("."),
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, once: only its hash is kept."""
    from lifeloop.serve import keys

    with opened(folder, as_json=as_json) as loop:
        key, text = keys.create(loop.store.kept, name=name, roles=role, at_us=loop.clock())
    _show(key, text, as_json=as_json)


def keys_list(folder: Folder = Path("."), as_json: AsJson = False) -> None:
    """List the keys: id, name, roles; never a secret."""
    from lifeloop.serve import keys

    with opened(folder, as_json=as_json) as loop:
        held = [key.public() for key in keys.listed(loop.store.kept)]
    if as_json:
        print_json({"keys": held})
        return
    rows = [[key["id"], key["name"], ", ".join(key["roles"])] for key in held]
    out.print(table(f"{len(held)} keys", ["id", "name", "roles"], rows))


def keys_rotate(key_id: KeyId, folder: Folder = Path("."), as_json: AsJson = False) -> None:
    """Give a key a new secret; the old one ends within a second."""
    from lifeloop.serve import keys

    with opened(folder, as_json=as_json) as loop:
        key, text = keys.rotate(loop.store.kept, key_id, at_us=loop.clock())
    _show(key, text, as_json=as_json)


def keys_revoke(key_id: KeyId, folder: Folder = Path("."), as_json: AsJson = False) -> None:
    """End a key; running servers notice within a second."""
    from lifeloop.serve import keys

    with opened(folder, as_json=as_json) as loop:
        keys.revoke(loop.store.kept, key_id)
    if as_json:
        print_json({"revoked": key_id})
    else:
        out.print(f"revoked {key_id}")


def accounts_create(
    name: Annotated[str, typer.Argument(help="name of the account")],
    folder: Folder = Path("."),
    as_json: AsJson = False,
) -> None:
    """Make an account of the dashboard, or give it a new password; it is printed once."""
    from lifeloop.serve import signin

    with opened(folder, as_json=as_json) as loop:
        password = signin.create_account(loop.store.kept, name, at_us=loop.clock())
    if as_json:
        print_json({"account": name, "password": password})
        return
    out.print(f"account {name}, password shown once:")
    out.print(password, markup=False, highlight=False, soft_wrap=True)


def accounts_list(folder: Folder = Path("."), as_json: AsJson = False) -> None:
    """List the accounts of the dashboard."""
    from lifeloop.serve import signin

    with opened(folder, as_json=as_json) as loop:
        names = signin.accounts(loop.store.kept)
    if as_json:
        print_json({"accounts": names})
        return
    out.print(table(f"{len(names)} accounts", ["name"], [[name] for name in names]))


def accounts_remove(
    name: Annotated[str, typer.Argument(help="name of the account")],
    folder: Folder = Path("."),
    as_json: AsJson = False,
) -> None:
    """Remove an account of the dashboard and end its sessions."""
    from lifeloop.serve import signin

    with opened(folder, as_json=as_json) as loop:
        signin.remove_account(loop.store.kept, name)
    if as_json:
        print_json({"removed": name})
    else:
        out.print(f"removed {name}")


def _show(key: "Key", text: str, *, as_json: bool) -> None:
    if as_json:
        print_json({**key.public(), "key": text})
        return
    out.print(f"key {key.id} ({', '.join(key.roles)}), shown once:")
    out.print(text, markup=False, highlight=False, soft_wrap=True)
