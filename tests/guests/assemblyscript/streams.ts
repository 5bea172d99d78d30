// The streams of the plugin.

/** A stream. The first part of the path names the behavior. */
export class Stream {
  behavior: string = "";
  constructor(public id: u32) {}
}

export const streams = new Map<u32, Stream>();

/** The stream of a context, or one without a behavior. */
export function streamOf(id: u32): Stream {
  return streams.has(id) ? streams.get(id) : new Stream(0);
}
