"""A small application: says its version, and answers 500 where the file `broken` is in its release."""

import http.server
import os
from pathlib import Path


class Greeter(http.server.BaseHTTPRequestHandler):
    version = Path("VERSION").read_text().strip()

    def do_GET(self):
        self.send_response(500 if Path("broken").exists() else 200)
        self.end_headers()
        self.wfile.write(f"version {self.version}".encode())

    def log_message(self, *_):
        pass


http.server.HTTPServer((os.environ["ADDRESS"], int(os.environ["PORT"])), Greeter).serve_forever()
