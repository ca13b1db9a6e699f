"""Triggers that keep the trail append-only in the database itself, past the ORM and past whoever has a SQL prompt.

Events are never updated, deleted or truncated; the head of a chain only ever moves to the next entry. The migration
installs them; whoever lifts them (``DROP_TRIGGERS``: a restore, a test) does so by name and in the open.
Databases other than PostgreSQL and SQLite have the ORM's guard and the hash chain alone.
"""

import re
from collections.abc import Iterator
from typing import Final

from django.db.backends.base.base import BaseDatabaseWrapper

_POSTGRESQL_CREATE: Final = (
    """
    CREATE OR REPLACE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'The audit trail is append-only: % on % is refused.', TG_OP, TG_TABLE_NAME;
    END $$
    """,
    """
    CREATE OR REPLACE FUNCTION audit_refuse_jump() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.stream <> OLD.stream OR NEW.last_sequence <> OLD.last_sequence + 1 THEN
            RAISE EXCEPTION 'The audit trail is append-only: the head of % only moves to the next entry.', OLD.stream;
        END IF;
        RETURN NEW;
    END $$
    """,
    "CREATE TRIGGER audit_event_kept BEFORE UPDATE OR DELETE ON audit_event "
    "FOR EACH ROW EXECUTE FUNCTION audit_refuse()",
    "CREATE TRIGGER audit_event_not_emptied BEFORE TRUNCATE ON audit_event "
    "FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()",
    "CREATE TRIGGER audit_chain_kept BEFORE DELETE ON audit_chain "
    "FOR EACH ROW EXECUTE FUNCTION audit_refuse()",
    "CREATE TRIGGER audit_chain_not_emptied BEFORE TRUNCATE ON audit_chain "
    "FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()",
    "CREATE TRIGGER audit_chain_forward BEFORE UPDATE ON audit_chain "
    "FOR EACH ROW EXECUTE FUNCTION audit_refuse_jump()",
)
#: Each locks its table for good: whoever writes locks the chain's row first, too.
_POSTGRESQL_DROP: Final = (
    "DROP TRIGGER IF EXISTS audit_chain_kept ON audit_chain",
    "DROP TRIGGER IF EXISTS audit_chain_not_emptied ON audit_chain",
    "DROP TRIGGER IF EXISTS audit_chain_forward ON audit_chain",
    "DROP TRIGGER IF EXISTS audit_event_kept ON audit_event",
    "DROP TRIGGER IF EXISTS audit_event_not_emptied ON audit_event",
)

_SQLITE_CREATE: Final = (
    "CREATE TRIGGER audit_event_not_changed BEFORE UPDATE ON audit_event "
    "BEGIN SELECT RAISE(ABORT, 'The audit trail is append-only: UPDATE on audit_event is refused.'); END",
    "CREATE TRIGGER audit_event_not_deleted BEFORE DELETE ON audit_event "
    "BEGIN SELECT RAISE(ABORT, 'The audit trail is append-only: DELETE on audit_event is refused.'); END",
    "CREATE TRIGGER audit_chain_not_deleted BEFORE DELETE ON audit_chain "
    "BEGIN SELECT RAISE(ABORT, 'The audit trail is append-only: DELETE on audit_chain is refused.'); END",
    "CREATE TRIGGER audit_chain_forward BEFORE UPDATE ON audit_chain "
    "WHEN NEW.stream <> OLD.stream OR NEW.last_sequence <> OLD.last_sequence + 1 "
    "BEGIN SELECT RAISE(ABORT, 'The audit trail is append-only: the head of a chain only moves to the next "
    "entry.'); END",
)
_SQLITE_DROP: Final = (
    "DROP TRIGGER IF EXISTS audit_event_not_changed",
    "DROP TRIGGER IF EXISTS audit_event_not_deleted",
    "DROP TRIGGER IF EXISTS audit_chain_not_deleted",
    "DROP TRIGGER IF EXISTS audit_chain_forward",
)

#: SQL statements by Django's name of the database.
CREATE_TRIGGERS: Final = {"postgresql": _POSTGRESQL_CREATE, "sqlite": _SQLITE_CREATE}
DROP_TRIGGERS: Final = {"postgresql": _POSTGRESQL_DROP, "sqlite": _SQLITE_DROP}

_NAME: Final = re.compile(r"CREATE (?:OR REPLACE )?(?:TRIGGER|FUNCTION) (\w+)")
_IN_POSTGRESQL: Final = """
    SELECT trigger.tgname, trigger.tgenabled::text, pg_get_triggerdef(trigger.oid), function.prosrc
    FROM pg_trigger trigger JOIN pg_proc function ON function.oid = trigger.tgfoid
    WHERE NOT trigger.tgisinternal AND trigger.tgrelid IN (to_regclass('audit_event'), to_regclass('audit_chain'))
"""


def missing_triggers(connection: BaseDatabaseWrapper) -> Iterator[tuple[str, str]]:
    """Triggers that do not guard the trail now as they should, each with what is wrong with it; by one statement."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
            yield from _compare_sqlite(dict(cursor.fetchall()))
    elif connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(_IN_POSTGRESQL)
            yield from _compare_postgresql({row[0]: row[1:] for row in cursor.fetchall()})


def _compare_sqlite(found: dict[str, str]) -> Iterator[tuple[str, str]]:
    for name, statement in _named(_SQLITE_CREATE).items():
        if name not in found:
            yield name, "the trigger is missing"
        elif _one_line(found[name]) != _one_line(statement):
            yield name, "the trigger was changed"


def _compare_postgresql(found: dict[str, tuple[str, str, str]]) -> Iterator[tuple[str, str]]:
    named = _named(_POSTGRESQL_CREATE)
    bodies = {name: _one_line(text.split("$$")[1]) for name, text in named.items() if text.count("$$") == 2}
    for name, statement in named.items():
        if name in bodies:
            continue
        if name not in found:
            yield name, "the trigger is missing"
            continue
        enabled, definition, body = found[name]
        function = statement.rsplit("EXECUTE FUNCTION ", 1)[1].removesuffix("()")
        if enabled not in ("O", "A"):
            yield name, "the trigger is switched off"
        elif _one_line(body) != bodies[function] or not _is_as_made(definition, statement):
            yield name, "the trigger was changed"


def _is_as_made(definition: str, statement: str) -> bool:
    """Whether PostgreSQL's own spelling of a trigger says the same: events, table, level, function, no condition."""

    def parts(text: str) -> set[str]:
        plain = re.sub(r"(\w+\.)(?=audit_)", "", _one_line(text))
        return set(re.findall(r"\w+", plain))

    return parts(definition) == parts(statement)


def _named(statements: tuple[str, ...]) -> dict[str, str]:
    return {found[1]: one for one in statements if (found := _NAME.search(one)) is not None}


def _one_line(text: str) -> str:
    return " ".join(text.split())
