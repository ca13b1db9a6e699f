"""Clients of the API."""

from typing import Any

from django.contrib.auth.models import User
from knox.models import AuthToken
from rest_framework.test import APIClient


def client_of(user: User) -> APIClient:
    """A client that sends a token of the user."""
    _, token = AuthToken.objects.create(user=user)
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {token}")
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
