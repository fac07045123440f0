/**
 * The real kernel behind `Syscalls`, through koffi: the only file that loads native code. One
 * instance per thread. Functions are bound on first use, because binding all of them costs more
 * than most programs need (start-up counts). docs/decisions/0001 says why koffi.
 */

import koffi from "koffi";
import type { Address, Bytes, Syscalls } from "./syscalls.ts";

type NativeFunction = (...args: unknown[]) => number;

/** C prototypes as libc declares them, except that `ioctl` and `fcntl` are not variadic. */
const PROTOTYPES = {
  open: "int open(const char *path, int flags, uint mode)",
  close: "int close(int fd)",
  read: "long read(int fd, void *into, size_t length)",
  write: "long write(int fd, const void *from, size_t length)",
  pread: "long pread64(int fd, void *into, size_t length, int64_t offset)",
  pwrite: "long pwrite64(int fd, const void *from, size_t length, int64_t offset)",
  ioctlInteger: "int ioctl(int fd, ulong request, long arg)",
  ioctlPointer: "int ioctl(int fd, ulong request, void *arg)",
  mmap: "long mmap64(long at, size_t length, int prot, int flags, int fd, int64_t offset)",
  munmap: "int munmap(long at, size_t length)",
  madvise: "int madvise(long at, size_t length, int advice)",
  eventfd: "int eventfd(uint initial, int flags)",
  memfdCreate: "int memfd_create(const char *name, uint flags)",
  ftruncate: "int ftruncate64(int fd, int64_t length)",
  fcntl: "int fcntl64(int fd, int command, long arg)",
  epollCreate: "int epoll_create1(int flags)",
  epollCtl: "int epoll_ctl(int epfd, int op, int fd, void *event)",
  epollWait: "int epoll_wait(int epfd, void *events, int max, int timeoutMs)",
  prlimit: "int prlimit64(int pid, int resource, void *newLimit, void *oldLimit)",
  getpid: "int getpid()",
  gettid: "int gettid()",
  tgkill: "int tgkill(int pid, int tid, int signal)",
  schedSetaffinity: "int sched_setaffinity(int tid, size_t length, void *mask)",
  sigaction: "int sigaction(int signal, void *action, void *old)",
} as const;

/** `struct sigaction` of glibc: handler, 128 bytes of mask, flags, restorer. */
const SIGACTION_SIZE = 152;

const libc = koffi.load(null);
const bound = new Map<keyof typeof PROTOTYPES, NativeFunction>();

function native(name: keyof typeof PROTOTYPES): NativeFunction {
  let call = bound.get(name);
  if (!call) {
    call = libc.func(PROTOTYPES[name]) as unknown as NativeFunction;
    bound.set(name, call);
  }
  return call;
}

/** libc's -1 with errno, turned into what the kernel answered. */
function kernelResult(result: number): number {
  return result === -1 ? -koffi.errno() : result;
}

function call(name: keyof typeof PROTOTYPES, ...args: unknown[]): number {
  return kernelResult(native(name)(...args));
}

class NativeSyscalls implements Syscalls {
  // The calls of a trapped access (KVM_RUN, config reads, doorbells) are bound up front: looking
  // the function up and spreading the arguments costs as much as the system call.
  readonly #ioctlInteger = native("ioctlInteger");
  readonly #ioctlPointer = native("ioctlPointer");
  readonly #pread = native("pread");
  readonly #read = native("read");
  readonly #write = native("write");

  open(path: string, flags: number, mode = 0): number {
    return call("open", path, flags, mode);
  }

  close(fd: number): number {
    return call("close", fd);
  }

  read(fd: number, into: Bytes): number {
    return kernelResult(this.#read(fd, into, into.byteLength));
  }

  write(fd: number, from: Bytes): number {
    return kernelResult(this.#write(fd, from, from.byteLength));
  }

  pread(fd: number, into: Bytes, offset: number): number {
    return kernelResult(this.#pread(fd, into, into.byteLength, offset));
  }

  pwrite(fd: number, from: Bytes, offset: number): number {
    return call("pwrite", fd, from, from.byteLength, offset);
  }

  ioctl(fd: number, request: number, arg: number | Bytes): number {
    // SAFETY: a view is pinned by koffi for the call; the kernel checks every pointer inside it.
    if (typeof arg === "number") return kernelResult(this.#ioctlInteger(fd, request, arg));
    return kernelResult(this.#ioctlPointer(fd, request, arg));
  }

  mmap(at: Address, length: number, prot: number, flags: number, fd: number, offset: number) {
    return call("mmap", at, length, prot, flags, fd, offset);
  }

  munmap(at: Address, length: number): number {
    return call("munmap", at, length);
  }

  madvise(at: Address, length: number, advice: number): number {
    return call("madvise", at, length, advice);
  }

  eventfd(initial: number, flags: number): number {
    return call("eventfd", initial, flags);
  }

  memfdCreate(name: string, flags: number): number {
    return call("memfdCreate", name, flags);
  }

  ftruncate(fd: number, length: number): number {
    return call("ftruncate", fd, length);
  }

  fcntl(fd: number, command: number, arg: number): number {
    return call("fcntl", fd, command, arg);
  }

  epollCreate(flags: number): number {
    return call("epollCreate", flags);
  }

  epollCtl(epfd: number, op: number, fd: number, event: Bytes): number {
    return call("epollCtl", epfd, op, fd, event);
  }

  epollWait(epfd: number, events: Bytes, maxEvents: number, timeoutMs: number): number {
    return call("epollWait", epfd, events, maxEvents, timeoutMs);
  }

  prlimit(pid: number, resource: number, newLimit: Bytes | null, oldLimit: Bytes | null): number {
    return call("prlimit", pid, resource, newLimit, oldLimit);
  }

  getpid(): number {
    return call("getpid");
  }

  gettid(): number {
    return call("gettid");
  }

  tgkill(pid: number, tid: number, signal: number): number {
    return call("tgkill", pid, tid, signal);
  }

  ignoreWithHandler(signal: number): number {
    const action = new Uint8Array(SIGACTION_SIZE);
    // SAFETY: abs() touches nothing but its argument register, so it may run on any thread at any
    // point; a real-time signal without SA_RESTART then does nothing but interrupt a system call.
    new BigUint64Array(action.buffer, 0, 1)[0] = koffi.address(libc.symbol("abs"));
    return call("sigaction", signal, action, null);
  }

  schedSetaffinity(tid: number, mask: Bytes): number {
    return call("schedSetaffinity", tid, mask.byteLength, mask);
  }

  addressOf(view: Bytes): Address {
    return Number(koffi.address(view));
  }

  memoryAt(address: Address, length: number): ArrayBuffer {
    // SAFETY: the caller holds a mapping of at least `length` bytes there (mapping.ts).
    return koffi.view(BigInt(address), length);
  }

  onReadable(fd: number, ready: () => void): Disposable {
    const handle = koffi.node.poll(fd, { readable: true }, ready);
    let open = true;
    return {
      [Symbol.dispose]() {
        if (!open) return;
        open = false;
        handle.close();
      },
    };
  }
}

let instance: Syscalls | undefined;

/** The real kernel, for this thread. */
export function nativeSyscalls(): Syscalls {
  instance ??= new NativeSyscalls();
  return instance;
}
