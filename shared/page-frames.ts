/**
 * The format of page frames, the only thing a page channel carries. The addon writes and reads them
 * (native/src/page_sender.cc, page_receiver.cc); this file is their definition, and the tests hold its bytes.
 *
 * A page channel is a WebSocket connection. Each binary message is one frame, little-endian:
 *
 *   header   u8 version (1), u8 kind (FrameKind), u16 zero, u32 runs, u32 body bytes, u32 zero, u64 sequence
 *   sealed   the body, encrypted with AES-128-GCM; the header is its associated data; nonce = u32 channel, u64 sequence
 *   tag      16 bytes
 *
 * The body of a `plain` frame is the run table followed by the content of its data runs, in order:
 *
 *   run      u64 address, u32 pages, u32 RunKind
 *
 * The body of a `compressed` frame is u32 length of the plain body, then an LZ4 block of it; its header says 0 runs:
 * the table ends where table and content fill the plain body. The sequence starts at 0 and counts each frame of the
 * channel; a frame out of sequence ends the channel. The client ends it with a close message.
 */

export const frameVersion = 1;
export const frameHeaderBytes = 24;
export const frameTagBytes = 16;
export const runBytes = 16;

export const FrameKind = { plain: 1, compressed: 2 } as const;
export const RunKind = {
  /** The pages' content follows the table. */
  data: 0,
  /** All pages are zero; nothing follows. */
  zero: 1,
} as const;

/** Bounds, checked before use on both sides. */
export const maxFrameRuns = 2048;
export const maxFrameBodyBytes = 512 * 1024;
