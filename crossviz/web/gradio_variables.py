"""Gradio's own environment variables, as far as they would change what this server is.

Gradio reads about forty. Some would hand out files, open a tunnel or let visitors change the code: with those the
server does not start. Others are overruled by what `page.launch` and `page.build` say, or concern parts of Gradio that
are not used here. A test reads Gradio's source and fails when there is one that is in none of these lists.
"""

from collections.abc import Mapping

from crossviz.errors import CrossvizError

__all__ = ["NO_EFFECT", "REFUSED", "SWITCHES", "check_gradio"]

REFUSED = {
    "GRADIO_ALLOWED_PATHS": "would hand out files of this computer to everyone",
    "GRADIO_HISTORY_BUCKET": "would keep what visitors asked in a bucket",
    "GRADIO_IS_E2E_TEST": "would let the server wait as for Gradio's own tests",
    "GRADIO_LOCAL_DEV_MODE": "would let pages of other addresses ask this server",
    "GRADIO_STATIC_WORKER_PORTS": "would let other processes answer, without this server's limits",
    "GRADIO_VIBE_MODE": "would let visitors change the app's code",
    "GRADIO_WATCH_DIRS": "would run whatever is changed in those folders",
}
"""What each would do, whatever it holds."""
SWITCHES = {
    "GRADIO_DEBUG": "would hold up the start before the model is there",
    "GRADIO_HOT_RELOAD": "would run whatever is changed in the code",
    "GRADIO_NUM_WORKERS": "would let other processes take uploads, without this server's limits",
    "GRADIO_PROFILING": "would show visitors when others asked",
    "GRADIO_SHARE": "would open a tunnel to this server from outside",
}
"""What each would do where it is not off."""
NO_EFFECT = {
    "GRADIO_ANALYTICS_CACHE_FREQUENCY",
    "GRADIO_ANALYTICS_ENABLED",  # always off: the page says so itself
    "GRADIO_ANALYTICS_MAX_EVENTS",
    "GRADIO_AUTO_LOGOUT",
    "GRADIO_BLOCKED_PATHS",
    "GRADIO_CACHE_EXAMPLES",
    "GRADIO_CACHE_MODE",
    "GRADIO_CHAT_FLAGGING_MODE",
    "GRADIO_DEFAULT_CONCURRENCY_LIMIT",  # CROSSVIZ_AT_ONCE
    "GRADIO_EXAMPLES_CACHE",
    "GRADIO_FLAGGING_MODE",
    "GRADIO_HEARTBEAT_INTERVAL",
    "GRADIO_NODE_NUM_PORTS",
    "GRADIO_NODE_PATH",
    "GRADIO_NODE_SERVER_NAME",
    "GRADIO_NODE_SERVER_PORT",
    "GRADIO_NUM_PORTS",
    "GRADIO_PYTHON_HOST",
    "GRADIO_PYTHON_PORT",
    "GRADIO_RESET_EXAMPLES_CACHE",
    "GRADIO_RUN_HISTORY",  # always off
    "GRADIO_SERVER_MODE_ENABLED",
    "GRADIO_SHARE_SERVER_ADDRESS",
    "GRADIO_SSR_MODE",  # always off
    "GRADIO_WATCH_DEMO_NAME",
    "GRADIO_WATCH_DEMO_PATH",
    "GRADIO_WATCH_ENCODING",
    "GRADIO_WATCH_MODULE_NAME",
    "GRADIO_WORKFLOW_INBROWSER",
}
"""What may be set, and changes nothing of importance here."""
_OFF = ("", "0", "false", "no", "off")


def check_gradio(environ: Mapping[str, str]) -> None:
    """Refuse what would open the server.

    Raises:
        CrossvizError: such a variable is set.
    """
    for name, effect in {**REFUSED, **SWITCHES}.items():
        value = environ.get(name)
        if value is None or (name in SWITCHES and value.strip().lower() in _OFF):
            continue
        raise CrossvizError(f"{name}={value[:40]!r} {effect}: unset it. crossviz does not start with it.")
