"""The ASGI entry point that uvicorn serves."""

import django

from config.env import choose_settings

choose_settings()
django.setup(set_prefix=False)

from config.bodies import BoundedBodies  # noqa: E402  (it imports what Django must have set up)
from config.connections import WatchedConnections  # noqa: E402
from config.database import share_connections  # noqa: E402
from config.engine import limit_web_process  # noqa: E402
from config.handling import HandlerInOneThread  # noqa: E402
from config.warming import load_pages  # noqa: E402
from datasets.models import ServerProcess  # noqa: E402
from datasets.processes import report_from_now_on  # noqa: E402
from notifications.streams.serving import EventStreams  # noqa: E402

share_connections()
limit_web_process()
load_pages()
report_from_now_on(ServerProcess.Kind.WEB)
application = WatchedConnections(BoundedBodies(EventStreams(HandlerInOneThread())))
