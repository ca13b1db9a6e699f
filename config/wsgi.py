"""The WSGI entry point, for servers that speak no ASGI."""

from django.core.wsgi import get_wsgi_application

from config.env import choose_settings

choose_settings()
django_application = get_wsgi_application()

from config.bodies import with_lengths  # noqa: E402  (it imports what Django must have set up)
from config.engine import limit_web_process  # noqa: E402

limit_web_process()
application = with_lengths(django_application)
