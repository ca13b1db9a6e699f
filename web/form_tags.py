"""The hidden fields of every form: ``{% csrf_token %}`` as Django has it, and whom the form is made for.

A built-in of our templates (``TEMPLATES``), so that no form is without it.
"""

from typing import Any

from django import template
from django.template.base import Parser, Token
from django.template.context import Context
from django.template.defaulttags import CsrfTokenNode
from django.utils.html import format_html
from django.utils.safestring import SafeString

from web.typed import TYPED_BY, mark_of

register = template.Library()


class _HiddenFields(CsrfTokenNode):
    def render(self, context: Context) -> SafeString:
        user: Any = getattr(context.get("request"), "user", None)
        fields = SafeString(super().render(context))
        if not fields or user is None or not user.is_authenticated:
            return fields
        mark = format_html('<input type="hidden" name="{}" value="{}">', TYPED_BY, mark_of(user.pk))
        return SafeString(fields + mark)


@register.tag
def csrf_token(parser: Parser, token: Token) -> _HiddenFields:
    """The token against forged forms, and the mark that ``web.typed`` reads."""
    return _HiddenFields()
