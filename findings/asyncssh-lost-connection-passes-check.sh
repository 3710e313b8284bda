#!/usr/bin/env bash
# asyncssh's run(check=True) returns normally if the connection is lost while the command runs.
#
# Guess: check=True raises an error unless the command ends with exit status 0.
# Seen with asyncssh 2.24.1 (cryptography 50.0.2), against its own server on the loopback interface:
#   the command exits with 3                       ProcessError
#   the command is killed by a signal              ProcessError
#   the connection is closed in mid-command        no error: exit_status and returncode are None, and stdout
#                                                  holds what had arrived
#   the channel ends without an exit status        the same
# None counts as success in the test. A board that reboots, loses power or runs out of memory in the middle of
# a measurement thus yields a shorter list of samples that looks complete. Test `exit_status == 0` yourself.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    asyncssh==2.24.1 cryptography==50.0.2
"$folder/venv/bin/python" - <<'PROGRAM'
import asyncio

import asyncssh

SAMPLES = ["12.1\n", "12.3\n", "12.2\n"]


class Board(asyncssh.SSHServer):
    def begin_auth(self, username):
        return False


async def measure(process):
    """Write one sample, then do as the command's name says."""
    process.stdout.write(SAMPLES[0])
    await process.stdout.drain()
    await asyncio.sleep(0.2)
    match process.command:
        case "complete":
            process.stdout.write("".join(SAMPLES[1:]))
            process.exit(0)
        case "fail":
            process.exit(3)
        case "signal":
            process.channel.exit_with_signal("KILL", False, "out of memory")
        case "no status":
            process.close()
        case "lose the connection":
            process.channel.get_connection().close()


async def result_of(port, command):
    try:
        async with asyncssh.connect(
            "127.0.0.1", port, known_hosts=None, username="board", client_keys=None, config=None
        ) as connection:
            result = await connection.run(command, check=True)
    except asyncssh.ProcessError as error:
        return type(error).__name__
    return result.stdout, result.exit_status, result.returncode


async def main():
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=Board,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        process_factory=measure,
    )
    for command, expected in {
        "complete": ("".join(SAMPLES), 0, 0),
        "fail": "ProcessError",
        "signal": "ProcessError",
        "no status": (SAMPLES[0], None, None),
        "lose the connection": (SAMPLES[0], None, None),
    }.items():
        found = await result_of(server.get_port(), command)
        print(f"{command}: {found}")
        assert found == expected, "the behaviour has changed"
    server.close()


asyncio.run(asyncio.wait_for(main(), 60))
PROGRAM
