"""Tokens."""

from rest_framework import serializers

from accounts.scopes import SENTENCES, Scope
from accounts.tokens import LONGEST_DAYS, USUAL_DAYS
from api.serializers.shared import StrictSerializer

SCOPES = [(scope.value, scope.value) for scope in Scope]
_EACH_SCOPE = " ".join(f"`{scope.value}`: {sentence}" for scope, sentence in SENTENCES.items())


class WantedTokenSerializer(StrictSerializer):
    """What a token is for."""

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
    agent = serializers.CharField(
        required=False,
        max_length=100,
        allow_blank=True,
        help_text="The agent that will act with it: what it does is marked so, in the timeline and in the trail.",
    )


class CredentialsSerializer(WantedTokenSerializer):
    """User name and password, where they do not come by HTTP Basic, and what the token is for."""

    username = serializers.CharField(required=False)
    password = serializers.CharField(required=False, trim_whitespace=False, write_only=True)


class DeviceSignInSerializer(serializers.Serializer):
    """How a program that waits to be let in tells its person, and goes on asking (RFC 8628)."""

    device_code = serializers.CharField(help_text="What the program asks with; nobody else may see it.")
    user_code = serializers.CharField(help_text="What the person compares.")
    verification_uri = serializers.URLField()
    verification_uri_complete = serializers.URLField(help_text="The same with the code in it.")
    expires_in = serializers.IntegerField(help_text="In seconds.")
    interval = serializers.IntegerField(help_text="Seconds to wait between two questions.")


class DeviceCodeSerializer(StrictSerializer):
    """The program asks again."""

    device_code = serializers.CharField(max_length=100)


class StillWaitingSerializer(serializers.Serializer):
    """Nobody has decided yet."""

    interval = serializers.IntegerField(help_text="Seconds to wait before the next question.")


class PasswordSerializer(StrictSerializer):
    """Another password for the caller."""

    old_password = serializers.CharField(trim_whitespace=False, write_only=True)
    new_password = serializers.CharField(trim_whitespace=False, write_only=True, max_length=4096)


class SessionSerializer(serializers.Serializer):
    """A browser in which the caller is signed in."""

    started_at = serializers.DateTimeField(allow_null=True)
    last_seen_at = serializers.DateTimeField(allow_null=True)
    address = serializers.CharField(allow_blank=True)
    browser = serializers.CharField(allow_blank=True)


class NewTokenSerializer(serializers.Serializer):
    """A token for the header ``Authorization: Token …``; it is shown once."""

    token = serializers.CharField()
    expiry = serializers.DateTimeField(allow_null=True)
    number = serializers.UUIDField()
    name = serializers.CharField()
    scopes = serializers.ListField(child=serializers.ChoiceField(SCOPES))
    agent = serializers.CharField()


class TokenSerializer(serializers.Serializer):
    """A token as the list shows it: not the token itself."""

    number = serializers.UUIDField()
    name = serializers.CharField()
    scopes = serializers.ListField(child=serializers.ChoiceField(SCOPES))
    created = serializers.DateTimeField()
    expiry = serializers.DateTimeField(allow_null=True)
    agent = serializers.CharField()
    last_used_at = serializers.DateTimeField(allow_null=True)


class OwnTokenSerializer(TokenSerializer):
    """The token that is sent, and whose it is."""

    username = serializers.CharField(source="user.username")
