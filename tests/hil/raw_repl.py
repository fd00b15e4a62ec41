"""The raw mode of a board's prompt, which the Unix port lacks, so that mpremote can be used on a pty.

Runs on MicroPython.  What is sent is really executed.  Source: docs.micropython.org, "The MicroPython
Interactive Interpreter Mode", raw mode; without raw-paste, which a board may lack, too.
"""

import sys

BANNER = b"raw REPL; CTRL-B to exit\r\n>"
said, heard = sys.stdout.buffer, sys.stdin.buffer
namespace = {"__name__": "__main__"}


def execute(code):
    said.write(b"OK")
    problem = None
    try:
        exec(code, namespace)  # noqa: S102  this is what a prompt does
    except BaseException as error:
        problem = error
    said.write(b"\x04")
    if problem is not None:
        sys.print_exception(problem)
    said.write(b"\x04>")


def run():
    is_raw, line = False, b""
    print("board ready")
    while True:
        byte = heard.read(1)
        if not byte:
            return
        if byte == b"\x01" and line == b"\x05A":
            said.write(b"R\x00")
            line = b""
        elif byte == b"\x01":
            is_raw, line = True, b""
            said.write(BANNER)
        elif byte == b"\x02":
            is_raw = False
            said.write(b"\r\n>>> ")
        elif byte == b"\x04" and is_raw:
            if line:
                execute(line)
            else:
                said.write(b"OK\r\nMPY: soft reboot\r\n" + BANNER)
            line = b""
        elif byte in b"\r\x03" and not line:
            pass
        elif is_raw:
            line += byte
        else:
            said.write(byte)  # An ordinary prompt echoes.


run()
