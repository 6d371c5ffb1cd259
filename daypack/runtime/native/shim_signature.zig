//! Ed25519 of Zig's standard library with a C interface: is this the key's signature of these bytes?
const std = @import("std");
const Ed25519 = std.crypto.sign.Ed25519;

comptime {
    @export(&verify, .{ .name = "daypack_ed25519_verify" });
}

/// The equation without cofactors, as OpenSSL checks it, so that host and engine agree on every signature.
fn verify(key: *const [32]u8, signature: *const [64]u8, data: [*]const u8, size_bytes: usize) callconv(.c) bool {
    const public_key = Ed25519.PublicKey.fromBytes(key.*) catch return false;
    Ed25519.Signature.fromBytes(signature.*).verifyStrict(data[0..size_bytes], public_key) catch return false;
    return true;
}
