"""Triggers that keep the trail append-only in the database itself, past the ORM and past whoever has a SQL prompt.

Events are never updated, deleted or truncated; the head of a chain only ever moves to the next entry. The migration
installs them; whoever lifts them (``DROP_TRIGGERS``: a restore, a test) does so by name and in the open.
Databases other than PostgreSQL and SQLite have the ORM's guard and the hash chain alone.
"""

from typing import Final

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
_POSTGRESQL_DROP: Final = (
    "DROP TRIGGER IF EXISTS audit_event_kept ON audit_event",
    "DROP TRIGGER IF EXISTS audit_event_not_emptied ON audit_event",
    "DROP TRIGGER IF EXISTS audit_chain_kept ON audit_chain",
    "DROP TRIGGER IF EXISTS audit_chain_not_emptied ON audit_chain",
    "DROP TRIGGER IF EXISTS audit_chain_forward ON audit_chain",
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
