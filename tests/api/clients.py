"""Clients of the API."""

from typing import Any

from django.contrib.auth.models import User
from rest_framework.test import APIClient

from accounts.scopes import Scope
from accounts.tokens import make_token, note_use


def token_of(user: User, *scopes: Scope) -> str:
    """The key of a token of the user, for everything unless scopes are given; it was used just now."""
    made, key = make_token(owner=user, scopes=scopes or tuple(Scope))
    note_use(made)
    return key


def client_of(user: User, *scopes: Scope) -> APIClient:
    """A client that sends a token of the user."""
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {token_of(user, *scopes)}")
    return client


def problem(response: Any) -> tuple[int, str]:
    """Status and code of an answer that must be problem+json with all its members."""
    assert response.headers["Content-Type"] == "application/problem+json", response.content
    body = response.json()
    assert {"type", "title", "status", "detail", "code", "message", "request_id"} <= set(body)
    assert body["status"] == response.status_code
    assert body["detail"] == body["message"]
    assert body["request_id"] == response.headers["X-Request-ID"]
    return response.status_code, body["code"]
