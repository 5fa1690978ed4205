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
    assert {("DATABASE", "URL"), ("MAIL", "TRANSPORT"), ("SECURITY", "KEY")} <= variables <= settings_keys
    commands = re.findall(r'command: \["third-thursday", "([a-z]+)"\]', TEXT)
    assert set(commands) == {"serve", "worker"} <= set(COMMANDS)


def test_the_compose_file_has_two_of_each_process_a_database_and_a_mail_catcher() -> None:
    part = TEXT.partition("\nservices:")[2].partition("\nvolumes:")[0]
    services = re.findall(r"^  ([a-z0-9-]+):(?: &\w+)?$", part, re.MULTILINE)
    assert services == ["postgres", "mail", "serve-1", "serve-2", "worker-1", "worker-2"]


def test_the_compose_file_has_no_password_requires_encryption_and_gives_containers_few_rights() -> None:
    assert (
        "POSTGRES_PASSWORD: ${POSTGRES_PASSWORD:?" in TEXT and "third_thursday:${POSTGRES_PASSWORD:?" in TEXT
    )
    assert "never" not in TEXT
    node = TEXT.partition("x-node: &node")[2].partition("\nservices:")[0]
    mail = TEXT.partition("\n  mail:")[2].partition("\n  serve-1:")[0]
    for part in (node, mail):
        assert "read_only: true" in part and "cap_drop: [ALL]" in part
    assert TEXT.count('security_opt: ["no-new-privileges:true"]') == 3
