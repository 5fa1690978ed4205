"""What all tests of one process share, although each opens a database and reads the templates of its own."""

from collections.abc import Hashable
from typing import Any

import jinja2
from jinja2.bccache import Bucket
from sqlalchemy import create_engine
from sqlalchemy.engine import URL, Engine
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from scheduler.delivery.compose import templates
from scheduler.store import database
from scheduler.web import site
from tests.inline_sqlite import InlineConnection


def install() -> None:
    """Make databases and templates that are opened from now on use the caches."""
    for module, name, replacement in (
        (database, "create_async_engine", _create_async_engine),
        (database, "create_engine", _create_engine),
        (templates, "Environment", _environment),
        (site, "Environment", _environment),
    ):
        setattr(module, name, replacement)


class _Statements(dict[tuple[Hashable, ...], object]):
    """Compiled statements. SQLAlchemy caches them for each engine, and compiling a test's statements takes longer than
    running them."""

    def get(self, key: tuple[Any, ...], default: object = None) -> object:
        dialect, *rest = key
        return super().get((dialect.name, *rest), default)

    def __setitem__(self, key: tuple[Any, ...], compiled: object) -> None:
        dialect, *rest = key
        super().__setitem__((dialect.name, *rest), compiled)


_statements = _Statements()


def _create_async_engine(url: URL, **options: Any) -> AsyncEngine:
    if url.get_backend_name() == "sqlite":
        arguments, named = url.get_dialect()().create_connect_args(url)
        named |= options.pop("connect_args", {})

        async def connect() -> InlineConnection:
            return InlineConnection(*arguments, **named)

        options["async_creator"] = connect
    return create_async_engine(url, execution_options={"compiled_cache": _statements}, **options)


def _create_engine(url: URL, **options: Any) -> Engine:
    return create_engine(url, execution_options={"compiled_cache": _statements}, **options)


class _CompiledTemplates(jinja2.BytecodeCache):
    """Compiled templates. The key of a bucket is made of the template's name, its file and its source."""

    def __init__(self) -> None:
        self._compiled: dict[tuple[str, str], Any] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._compiled.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._compiled[bucket.key, bucket.checksum] = bucket.code


_compiled_templates = _CompiledTemplates()


def _environment(**options: Any) -> jinja2.Environment:
    return jinja2.Environment(bytecode_cache=_compiled_templates, **options)  # noqa: S701 - `options` says it
