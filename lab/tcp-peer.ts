/**
 * The other end of a guest's network card: two TCP servers of this process, which a card on QEMU's
 * user network reaches at 10.0.2.2. One sends random bytes, the other takes what comes.
 */

import { createHash, type Hash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { Readable } from "node:stream";

const CHUNK = randomBytes(2 ** 20);

export class TcpPeer implements AsyncDisposable {
  readonly #sender: Server;
  readonly #taker: Server;
  readonly #sockets = new Set<Socket>();
  readonly #taken: string[] = [];
  /** Of what each connection is sent. */
  readonly sha256: string;

  private constructor(sender: Server, taker: Server, sha256: string) {
    this.#sender = sender;
    this.#taker = taker;
    this.sha256 = sha256;
  }

  /** @param mib what each connection is sent, in MiB */
  static async start(mib: number): Promise<TcpPeer> {
    const hash = createHash("sha256");
    for (let sent = 0; sent < mib; sent++) hash.update(CHUNK);
    const peer: TcpPeer = new TcpPeer(
      // Who only receives may close its own direction at once.
      createServer({ allowHalfOpen: true }, (socket) => peer.#send(socket, mib)),
      createServer({ allowHalfOpen: true }, (socket) => peer.#take(socket)),
      hash.digest("hex"),
    );
    for (const server of [peer.#sender, peer.#taker]) {
      server.listen(0, "127.0.0.1");
      await once(server, "listening");
    }
    return peer;
  }

  /** The port that sends. */
  get sends(): number {
    return (this.#sender.address() as AddressInfo).port;
  }

  /** The port that takes. */
  get takes(): number {
    return (this.#taker.address() as AddressInfo).port;
  }

  /** SHA-256 of what each ended connection brought. */
  get taken(): readonly string[] {
    return this.#taken;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    const servers = [this.#sender, this.#taker];
    await Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
  }

  #follow(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    socket.on("error", () => {}); // the guest sees a sum that differs
  }

  #send(socket: Socket, mib: number): void {
    this.#follow(socket);
    socket.resume();
    Readable.from(Array<Buffer>(mib).fill(CHUNK), { objectMode: false }).pipe(socket);
  }

  #take(socket: Socket): void {
    this.#follow(socket);
    const hash: Hash = createHash("sha256");
    socket.on("data", (bytes) => hash.update(bytes));
    socket.once("end", () => {
      this.#taken.push(hash.digest("hex"));
      socket.end();
    });
  }
}
