"""What both scripts share: cases that print `ok NAME` or `FAILED NAME: why`."""
import asyncio
import sys
import traceback

CASES = {}


def case(function):
    CASES[function.__name__] = function
    return function


async def run(names, *arguments):
    failed = False
    for name in names or CASES:
        try:
            await asyncio.wait_for(CASES[name](*arguments), 30)
            print("ok", name, flush=True)
        except Exception as error:  # noqa: BLE001 - reported, whatever it is
            failed = True
            print(f"FAILED {name}: {error!r} {traceback.format_exc()!r}", flush=True)
    sys.exit(1 if failed else 0)
