"""`compose.yaml` uses only settings and commands that exist."""

import re
from pathlib import Path

from scheduler.bootstrap.settings_schema import Tables, table_of
from scheduler.cli.app import COMMANDS

TEXT = (Path(__file__).parents[2] / "compose.yaml").read_text(encoding="utf-8")


def test_the_variables_of_the_compose_file_are_settings_and_its_commands_exist() -> None:
    variables = set(re.findall(r"^ +THIRD_THURSDAY_([A-Z]+)__([A-Z_]+):", TEXT, re.MULTILINE))
    settings_keys = {
        (section.upper(), key.upper())
        for section, field in Tables.model_fields.items()
        for key in table_of(field).model_fields
    }
    assert {("DATABASE", "URL_FILE"), ("MAIL", "TRANSPORT_FILE"), ("SECURITY", "KEY_FILE")} <= variables
    assert {(section, key.removesuffix("_FILE")) for section, key in variables} <= settings_keys
    commands = re.findall(r'command: \["third-thursday", "([a-z]+)"\]', TEXT)
    assert set(commands) == {"serve", "worker"} <= set(COMMANDS)


def test_the_compose_file_has_two_of_each_process_a_database_and_a_mail_catcher() -> None:
    part = TEXT.partition("\nservices:")[2].partition("\nvolumes:")[0]
    services = re.findall(r"^  ([a-z0-9-]+):(?: &\w+)?$", part, re.MULTILINE)
    assert services == ["postgres", "mail", "serve-1", "serve-2", "worker-1", "worker-2"]


def test_the_compose_file_holds_no_password_asks_for_encryption_and_gives_containers_few_rights() -> None:
    lines = "\n".join(line for line in TEXT.splitlines() if not line.startswith("#"))
    assert "PASSWORD:" not in lines and "://third_thursday" not in lines
    assert "never" not in TEXT
    node = TEXT.partition("x-node: &node")[2].partition("\nservices:")[0]
    mail = TEXT.partition("\n  mail:")[2].partition("\n  serve-1:")[0]
    for part in (node, mail):
        assert "read_only: true" in part and "cap_drop: [ALL]" in part
    assert TEXT.count('security_opt: ["no-new-privileges:true"]') == 3


def test_secrets_are_files_and_each_that_is_used_is_declared() -> None:
    used = set(re.findall(r"_FILE: /run/secrets/(\w+)", TEXT))
    given = {name for names in re.findall(r"secrets: \[(.*)\]", TEXT) for name in names.split(", ")}
    declared = set(re.findall(r"^  (\w+):\n    file: secrets/\1$", TEXT, re.MULTILINE))
    assert used == given == declared == {"database_url", "key", "postgres_password", "transport"}
    assert all(f"> {name}" in TEXT for name in declared)
    ignored = Path(__file__).parents[2].joinpath(".gitignore").read_text()
    assert "/secrets/" in ignored.splitlines()


def test_the_image_runs_without_rights_and_is_checked() -> None:
    image = (Path(__file__).parents[2] / "Dockerfile").read_text(encoding="utf-8")
    last = image.rpartition("\nFROM ")[2]
    assert "\nUSER third-thursday\n" in last and "\nHEALTHCHECK " in last
    assert last.index("USER third-thursday") < last.index("\nCMD ")
    assert re.search(r"^ARG PYTHON_IMAGE=python:3\.\d+\.\d+-slim-bookworm$", image, re.MULTILINE)
    assert not re.search(r"(PASSWORD|KEY|TOKEN)[A-Z_]*=", image)
