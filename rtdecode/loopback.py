"""A configuration that keeps LSL on this machine, for tests, the demo and benchmarks."""

import uuid
from pathlib import Path


def loopback_configuration(folder: Path) -> Path:
    """Write a liblsl configuration with a session of its own into `folder` and return its path.

    A process that has it in the environment variable LSLAPICFG before liblsl is loaded neither sends
    anything beyond the loopback interface nor sees streams of other sessions.
    """
    path = folder / "lsl_api.cfg"
    path.write_text(
        "[ports]\nIPv6 = disable\n"
        "[multicast]\nResolveScope = machine\nMachineAddresses = {127.0.0.1}\nLinkAddresses = {}\n"
        "SiteAddresses = {}\nOrganizationAddresses = {}\nGlobalAddresses = {}\n"
        f"[lab]\nKnownPeers = {{127.0.0.1}}\nSessionID = rtdecode-{uuid.uuid4().hex}\n"
        "[log]\nlevel = -3\n",
        encoding="utf-8",
    )
    return path
