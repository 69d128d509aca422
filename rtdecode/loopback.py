"""A configuration that keeps LSL on this machine, for tests, the demo and benchmarks."""

import secrets
import uuid
from pathlib import Path

_PORTS = 64


def loopback_configuration(folder: Path) -> Path:
    """Write a liblsl configuration with a session of its own into `folder` and return its path.

    A process that has it in the environment variable LSLAPICFG before liblsl is loaded neither sends
    anything beyond the loopback interface nor sees streams of other sessions.
    """
    path = folder / "lsl_api.cfg"
    # On loopback, outlets are found by asking every port of the range; the default one has 32, shared by all
    # sessions of a machine, and an outlet beyond it is never found.
    base = 20000 + _PORTS * secrets.randbelow(30000 // _PORTS)
    path.write_text(
        f"[ports]\nIPv6 = disable\nBasePort = {base}\nPortRange = {_PORTS}\n"
        "[multicast]\nResolveScope = machine\nMachineAddresses = {127.0.0.1}\nLinkAddresses = {}\n"
        "SiteAddresses = {}\nOrganizationAddresses = {}\nGlobalAddresses = {}\n"
        f"[lab]\nKnownPeers = {{127.0.0.1}}\nSessionID = rtdecode-{uuid.uuid4().hex}\n"
        "[log]\nlevel = -3\n",
        encoding="utf-8",
    )
    return path
