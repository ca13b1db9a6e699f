"""Tokens."""

from rest_framework import serializers

from accounts.scopes import SENTENCES, Scope
from accounts.tokens import LONGEST_DAYS, USUAL_DAYS
from api.serializers.shared import StrictSerializer

SCOPES = [(scope.value, scope.value) for scope in Scope]
_EACH_SCOPE = " ".join(f"`{scope.value}`: {sentence}" for scope, sentence in SENTENCES.items())


class CredentialsSerializer(StrictSerializer):
    """User name and password, where they do not come by HTTP Basic, and what the token is for."""

    username = serializers.CharField(required=False)
    password = serializers.CharField(required=False, trim_whitespace=False, write_only=True)
    name = serializers.CharField(
        required=False, max_length=100, allow_blank=True, help_text="What the list of tokens calls it."
    )
    scopes = serializers.ListField(
        child=serializers.ChoiceField(SCOPES),
        required=False,
        min_length=1,
        help_text=f"What it may be used for; everything unless given. {_EACH_SCOPE}",
    )
    days = serializers.IntegerField(
        required=False, min_value=1, max_value=LONGEST_DAYS, help_text=f"How long it lives; {USUAL_DAYS}."
    )


class NewTokenSerializer(serializers.Serializer):
    """A token for the header ``Authorization: Token …``; it is shown once."""

    token = serializers.CharField()
    expiry = serializers.DateTimeField(allow_null=True)
    number = serializers.UUIDField()
    name = serializers.CharField()
    scopes = serializers.ListField(child=serializers.ChoiceField(SCOPES))


class TokenSerializer(serializers.Serializer):
    """A token as the list shows it: not the token itself."""

    number = serializers.UUIDField()
    name = serializers.CharField()
    scopes = serializers.ListField(child=serializers.ChoiceField(SCOPES))
    created = serializers.DateTimeField()
    expiry = serializers.DateTimeField(allow_null=True)
    last_used_at = serializers.DateTimeField(allow_null=True)
