"""The command tree."""

import typer

from lifeloop.cli import (
    ahead,
    backup,
    cleaning,
    data,
    doctor,
    encoders,
    evaluation,
    lake,
    lifecycle,
    models,
    people,
    people_data,
    presets,
    project,
    quarantine,
    retention,
    serve,
)

app = typer.Typer(
    name="lifeloop",
    help="A recommender system that manages the whole life of a user.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
imports = typer.Typer(
    cls=presets.PresetGroup,
    help="Read users, items or events from a file, or another system's export (--preset NAME).",
    no_args_is_help=True,
)
refused = typer.Typer(
    help="Look at refused rows, repair them and try them again.", no_args_is_help=True
)
lakes = typer.Typer(help="Keep the whole history as Parquet files, by local day.")
bundles = typer.Typer(help="List, activate or roll back model bundles.", no_args_is_help=True)
texts = typer.Typer(help="List, try or build text encoders.", no_args_is_help=True)
accounts = typer.Typer(help="Who may sign in to the dashboard.", no_args_is_help=True)
keys = typer.Typer(help="Make, list, rotate or revoke API keys.", no_args_is_help=True)

app.command("init")(project.init)
app.command("demo")(project.demo)
app.command("status")(project.status)

imports.command("users")(data.import_users)
imports.command("items")(data.import_items)
imports.command("events")(data.import_events)
imports.command("pair")(data.import_pair)
imports.command("all")(data.import_everything)
imports.command("from")(presets.import_from)
app.add_typer(imports, name="import")
app.command("clean")(cleaning.clean)
app.command("pseudonym")(data.pseudonym)
app.command("identify")(data.identify)
lakes.command("extend")(lake.extend)
lakes.command("compact")(lake.compact)
lakes.command("status")(lake.status)
lakes.command("rebuild")(lake.rebuild)
lakes.command("snapshot")(lake.snapshot)
app.add_typer(lakes, name="lake")
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.command("retain")(retention.retain)
app.command("doctor")(doctor.doctor)
app.command("audit")(people_data.audit)
app.command("export")(people_data.export)
app.command("erase")(people_data.erase)
refused.command("list")(quarantine.listed)
refused.command("show")(quarantine.show)
refused.command("retry")(quarantine.retry)
refused.command("export")(quarantine.export)
refused.command("import")(quarantine.put_back)
refused.command("drop")(quarantine.drop)
refused.command("audit")(quarantine.audit)
app.add_typer(refused, name="quarantine")

app.command("train")(models.train)
bundles.command("list")(models.models_list)
bundles.command("activate")(models.models_activate)
bundles.command("rollback")(models.models_rollback)
app.add_typer(bundles, name="models")

texts.command("list")(encoders.encoders_list)
texts.command("test")(encoders.encoders_test)
texts.command("build")(encoders.encoders_build)
app.add_typer(texts, name="encoders")
app.command("nearest")(encoders.nearest)

app.command("recommend")(people.recommend)
app.command("predict")(people.predict)
app.command("similar")(people.similar)
app.command("stage")(people.stage)
app.command("stages")(people.stages)

app.command("lifecycle")(lifecycle.lifecycle)
app.command("metrics")(lifecycle.metrics)
app.command("cohorts")(lifecycle.cohorts)
app.command("users")(lifecycle.users)
app.command("daily")(lifecycle.daily)
app.command("value")(ahead.value)
app.command("forecast")(ahead.forecast)
app.command("churn")(ahead.churn)
app.command("ltv")(ahead.ltv)

app.command("evaluate")(evaluation.evaluate)

app.command("serve")(serve.serve)
keys.command("create")(serve.keys_create)
keys.command("list")(serve.keys_list)
keys.command("rotate")(serve.keys_rotate)
keys.command("revoke")(serve.keys_revoke)
app.add_typer(keys, name="keys")
accounts.command("create")(serve.accounts_create)
accounts.command("list")(serve.accounts_list)
accounts.command("remove")(serve.accounts_remove)
app.add_typer(accounts, name="accounts")
