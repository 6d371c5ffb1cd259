//! SHA-256 of Zig's standard library with a C interface, for the manifest check.
//!
//! Built twice: for the architecture's baseline (`..._plain`), and with its SHA instructions (`..._accelerated`),
//! which std.crypto uses when the build target has them. src/sha256.c chooses at run time.
const std = @import("std");
const builtin = @import("builtin");
const Sha256 = std.crypto.hash.sha2.Sha256;

/// `daypack_sha256` in src/internal.h is this many bytes, this aligned.
const State = extern struct { bytes: [256]u8 align(16) };

const suffix = if (builtin.cpu.has(.aarch64, .sha2) or builtin.cpu.hasAll(.x86, &.{ .sha, .avx2 }))
    "_accelerated"
else
    "_plain";

comptime {
    if (@sizeOf(Sha256) > @sizeOf(State) or @alignOf(Sha256) > @alignOf(State))
        @compileError("daypack_sha256 in src/internal.h is too small for std.crypto's state");
    @export(&init, .{ .name = "daypack_sha256_init" ++ suffix });
    @export(&update, .{ .name = "daypack_sha256_update" ++ suffix });
    @export(&final, .{ .name = "daypack_sha256_final" ++ suffix });
}

fn init(state: *State) callconv(.c) void {
    hasher(state).* = Sha256.init(.{});
}

fn update(state: *State, data: [*]const u8, size_bytes: usize) callconv(.c) void {
    hasher(state).update(data[0..size_bytes]);
}

fn final(state: *State, digest: *[32]u8) callconv(.c) void {
    hasher(state).final(digest);
}

fn hasher(state: *State) *Sha256 {
    return @ptrCast(state);
}
