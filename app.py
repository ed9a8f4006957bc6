"""The app's entry, for `make run`, a container and a Hugging Face Space."""

import os
import sys

from crossviz.errors import CrossvizError
from crossviz.web.app import serve


def main() -> None:
    """Serve on the address that Gradio's own environment variables name."""
    port = os.environ.get("GRADIO_SERVER_PORT", "7860")
    if not port.isdigit():
        sys.exit(f"crossviz: GRADIO_SERVER_PORT={port!r} is no port: give a number.")
    try:
        mcp = os.environ.get("GRADIO_MCP_SERVER", "").lower() in ("1", "true")
        serve(host=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"), port=int(port), mcp=mcp)
    except CrossvizError as error:
        sys.exit(f"crossviz: {error}")
    except KeyboardInterrupt:
        print()


if __name__ == "__main__":
    main()
