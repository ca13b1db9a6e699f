"""Telling people and programs what happened: inbox, e-mail, webhooks, made from the outbox of the audit trail."""
