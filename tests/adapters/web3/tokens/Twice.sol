// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

/// Moves what somebody has allowed it to move twice in one transaction, as wallets that pay in batches do.
contract Twice {
    function pay(address token, address to, uint256 first, uint256 second) external {
        _pay(token, to, first);
        _pay(token, to, second);
    }

    function _pay(address token, address to, uint256 value) private {
        (bool done,) = token.call(
            abi.encodeWithSignature("transferFrom(address,address,uint256)", msg.sender, to, value)
        );
        require(done, "not paid");
    }
}
