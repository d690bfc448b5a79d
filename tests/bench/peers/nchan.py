"""nginx with nchan, the C module that does pub/sub: in memory, without authentication."""

import os
import shutil
from pathlib import Path

from tests.bench.peer import HTTP_HEAD, JSON_EVENT, Body, Channel, Peer, Plain, await_port, begin, free_port, upgrade

_MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
_CONFIG = """
load_module {module};
{user}
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/error.log crit;
worker_rlimit_nofile 65536;
events {{ worker_connections 30000; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  client_body_in_single_buffer on;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  nchan_shared_memory_size 256M;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location ~ ^/pub/(\\w+)$ {{
      nchan_publisher http;
      nchan_channel_id $1;
      nchan_message_buffer_length 20000;
      nchan_message_timeout 60s;
    }}
    location ~ ^/sub/(\\w+)$ {{
      nchan_subscriber eventsource websocket;
      nchan_channel_id $1;
      nchan_subscriber_first_message newest;
    }}
  }}
}}
"""


def _start(directory: Path) -> Plain:
    port = free_port()
    config = directory / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    config.write_text(_CONFIG.format(module=_MODULE, user=user, directory=directory, port=port))
    log = directory / "nginx.log"
    process = begin(["nginx", "-p", str(directory), "-c", str(config), "-e", str(log)], log)
    await_port(process, port, log)
    return Plain(process, port, Body(b"", JSON_EVENT, b"", b"", max_batch=1), _spell)


def _spell(protocol: str, name: str) -> Channel:
    publish = f"POST /pub/{name} HTTP/1.1\r\n".encode() + HTTP_HEAD
    if protocol == "ws":
        return Channel(publish, upgrade(f"/sub/{name}"))
    return Channel(publish, f"GET /sub/{name} HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n".encode())


def _missing() -> str | None:
    if shutil.which("nginx") is None or not _MODULE.exists():
        return "nginx with nchan is not installed; `make bench-peers` installs it"
    return None


PEER = Peer("nchan", "nginx + nchan (C)", ("sse", "ws"), _start, _missing)
