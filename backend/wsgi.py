"""What the servers serve, made when it is asked for.

``backend.wsgi:app`` is everything, for gunicorn's gevent workers (``backend.serve_gunicorn``): the live channel, the
hot routes and, behind them, Flask. ``backend.wsgi:ingest`` is the hot routes alone, for granian's event loops (RSGI).
Each is built at its first mention, so a process builds only the one it serves, and after any fork.
"""

from __future__ import annotations

import gc
import threading
from typing import Any

from backend.core import listen
from backend.core.config import Config, libpq_url
from backend.core.db import engine_for, set_engine
from backend.core.preflight import check_app

_made: dict[str, Any] = {}
_making = threading.Lock()


def __getattr__(name: str) -> Any:
    makers = {"app": _make_app, "ingest": _make_ingest}
    maker = makers.get(name)
    if maker is None:
        raise AttributeError(name)
    with _making:
        if name not in _made:
            _made[name] = maker(Config.from_env())
            # What was made stays: 300,000 objects that a full collection would walk through, which takes a tenth of
            # a second and stops every request and every socket for it.
            gc.collect()
            gc.freeze()
    return _made[name]


def _make_app(config: Config) -> Any:
    from backend.app import create_app, open_database
    from mobile_api import realtime
    from workflows import tracks

    open_database(config)
    listener = _listen(config)
    # A request that waits costs a greenlet here, so many phones may bring their backlog at once.
    tracks.tune(backlog_limit=64)
    app = create_app(config)
    realtime.install(app, realtime.DatabaseWatch(app.extensions["xungeng.identity"]), listener=listener)
    _open_bus(config)
    listener.start()
    return app


def _make_ingest(config: Config) -> Any:
    """Make what serves the hot routes alone, in a process without Flask."""
    from backend.core import logs
    from mobile_api import rsgi
    from mobile_api.identity import Identity
    from workflows import tracks
    from workflows.sessions import Sessions

    logs.configure(config, "ingest")
    engine = engine_for(config)
    check_app(engine, config)
    set_engine(engine)
    listener = _listen(config)
    # A backlog waits in the loop and costs little there; a tracker's holds one of few threads, and most of those are
    # kept for who is on the map.
    tracks.tune(backlog_limit=64, backlog_threads=rsgi.THREADS // 4)
    served = rsgi.AsyncDispatcher(Identity(Sessions(config).tokens), config)
    _open_bus(config)
    listener.start()
    return served


def _listen(config: Config) -> listen.Listener:
    listener = listen.Listener(libpq_url(config.database_url))
    listen.set_listener(listener)
    return listener


def _open_bus(config: Config) -> None:
    from notifications.channels.realtime import live

    if config.redis_url:  # Without it there is one web process alone (``Config`` sees to that).
        live.open_bus(config.redis_url)
