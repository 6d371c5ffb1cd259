//! SHA-256 of Zig's standard library with a C interface, for the manifest check.
const std = @import("std");
const Sha256 = std.crypto.hash.sha2.Sha256;

/// `daypack_sha256` in src/internal.h is this many bytes, this aligned.
const State = extern struct { bytes: [256]u8 align(16) };

comptime {
    if (@sizeOf(Sha256) > @sizeOf(State) or @alignOf(Sha256) > @alignOf(State))
        @compileError("daypack_sha256 in src/internal.h is too small for std.crypto's state");
}

export fn daypack_sha256_init(state: *State) void {
    hasher(state).* = Sha256.init(.{});
}

export fn daypack_sha256_update(state: *State, data: [*]const u8, size_bytes: usize) void {
    hasher(state).update(data[0..size_bytes]);
}

export fn daypack_sha256_final(state: *State, digest: *[32]u8) void {
    hasher(state).final(digest);
}

fn hasher(state: *State) *Sha256 {
    return @ptrCast(state);
}
