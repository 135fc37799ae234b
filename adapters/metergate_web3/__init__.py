"""Payments in tokens such as USDC and USDT, to an address of the operator's, proven on the chain itself.

Plain JSON-RPC and a few lines that read it, in place of web3.py, which takes a second and a half to import
and was made for those who send transactions. Nothing here holds a key: money only comes in.
"""

from metergate.provider_port import Context
from metergate_web3.provider import Web3Provider
from metergate_web3.settings import chains_of

__all__ = ["Web3Provider", "open_provider"]


def open_provider(context: Context) -> Web3Provider:
    return Web3Provider(context, chains_of(context))
