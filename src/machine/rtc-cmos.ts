/**
 * The real-time clock and CMOS RAM of a PC (Motorola MC146818A), ports 0x70 and 0x71: time in UTC,
 * the alarm, and the update-ended interrupt. The periodic interrupt is not there. The guest may set
 * the time; that moves its clock, not the host's.
 */

import type { IoHandler } from "../memory/region.ts";

const REG = {
  seconds: 0,
  secondsAlarm: 1,
  minutes: 2,
  minutesAlarm: 3,
  hours: 4,
  hoursAlarm: 5,
  weekday: 6,
  day: 7,
  month: 8,
  year: 9,
  a: 0x0a,
  b: 0x0b,
  c: 0x0c,
  d: 0x0d,
  century: 0x32,
} as const;
const CMOS_SIZE = 128;

/** 32.768 kHz time base, as every PC has it. */
const A_DIVIDER = 0x26;
const B_24_HOURS = 0x02;
const B_BINARY = 0x04;
const B_SET = 0x80;
const D_BATTERY_GOOD = 0x80;
const C_UPDATE_ENDED = 0x10;
const C_ALARM = 0x20;
const C_INTERRUPT = 0x80;
/** An alarm register with both top bits set matches every value. */
const ALARM_ANY = 0xc0;

export class RtcCmos implements IoHandler {
  readonly #setIrq: (level: boolean) => void;
  readonly #cmos = new Uint8Array(CMOS_SIZE);
  #index = 0;
  #offsetMs = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(setIrq: (level: boolean) => void) {
    this.#setIrq = setIrq;
    this.#cmos[REG.a] = A_DIVIDER;
    this.#cmos[REG.b] = B_24_HOURS;
  }

  read(offset: number): number {
    return offset === 0 ? 0xff : this.#readRegister(this.#index);
  }

  write(offset: number, size: 1 | 2 | 4, value: number): void {
    if (offset === 0) this.#index = value & 0x7f;
    if (offset === 1) this.#writeRegister(this.#index, value & 0xff);
    if (offset === 0 && size > 1) this.#writeRegister(this.#index, (value >> 8) & 0xff);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #now(): Date {
    return new Date(Date.now() + this.#offsetMs);
  }

  #encode(value: number): number {
    const binary = (this.#cmos[REG.b]! & B_BINARY) !== 0;
    return binary ? value : Math.floor(value / 10) * 16 + (value % 10);
  }

  #decode(value: number): number {
    const binary = (this.#cmos[REG.b]! & B_BINARY) !== 0;
    return binary ? value : (value >> 4) * 10 + (value & 0x0f);
  }

  #encodeHours(hours: number): number {
    if ((this.#cmos[REG.b]! & B_24_HOURS) !== 0) return this.#encode(hours);
    return this.#encode(hours % 12 || 12) | (hours >= 12 ? 0x80 : 0);
  }

  /** The time fields as registers, or undefined for a register that is not one. */
  #timeRegister(index: number, now: Date): number | undefined {
    switch (index) {
      case REG.seconds:
        return this.#encode(now.getUTCSeconds());
      case REG.minutes:
        return this.#encode(now.getUTCMinutes());
      case REG.hours:
        return this.#encodeHours(now.getUTCHours());
      case REG.weekday:
        return this.#encode(now.getUTCDay() + 1);
      case REG.day:
        return this.#encode(now.getUTCDate());
      case REG.month:
        return this.#encode(now.getUTCMonth() + 1);
      case REG.year:
        return this.#encode(now.getUTCFullYear() % 100);
      case REG.century:
        return this.#encode(Math.floor(now.getUTCFullYear() / 100));
      default:
        return undefined;
    }
  }

  #readRegister(index: number): number {
    if (index === REG.d) return D_BATTERY_GOOD;
    if (index === REG.c) {
      const flags = this.#cmos[REG.c]!;
      this.#cmos[REG.c] = 0;
      this.#setIrq(false);
      return flags;
    }
    return this.#timeRegister(index, this.#now()) ?? this.#cmos[index]!;
  }

  #writeRegister(index: number, value: number): void {
    if (index === REG.c || index === REG.d) return;
    if (this.#timeRegister(index, this.#now()) !== undefined) this.#setTime(index, value);
    else this.#cmos[index] = value;
    if (index === REG.b) this.#schedule();
  }

  /** Writing one field moves the guest's clock by the difference. */
  #setTime(index: number, value: number): void {
    const now = this.#now();
    const moved = new Date(now);
    const number = this.#decode(value);
    const year = now.getUTCFullYear();
    if (index === REG.seconds) moved.setUTCSeconds(number);
    if (index === REG.minutes) moved.setUTCMinutes(number);
    if (index === REG.hours) moved.setUTCHours(number % 24);
    if (index === REG.day) moved.setUTCDate(number);
    if (index === REG.month) moved.setUTCMonth(number - 1);
    if (index === REG.year) moved.setUTCFullYear(year - (year % 100) + number);
    if (index === REG.century) moved.setUTCFullYear(number * 100 + (year % 100));
    this.#offsetMs += moved.getTime() - now.getTime();
  }

  /** Runs a tick at the next full second while an interrupt that needs it is enabled. */
  #schedule(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const enabled = this.#cmos[REG.b]!;
    if ((enabled & (C_UPDATE_ENDED | C_ALARM)) === 0 || (enabled & B_SET) !== 0) return;
    const delayMs = 1000 - (this.#now().getTime() % 1000);
    this.#timer = setTimeout(() => this.#tick(), delayMs);
    this.#timer.unref();
  }

  #tick(): void {
    const now = this.#now();
    const matches = (alarm: number, time: number) => {
      const wanted = this.#cmos[alarm]!;
      return (wanted & ALARM_ANY) === ALARM_ANY || wanted === this.#timeRegister(time, now);
    };
    let flags = this.#cmos[REG.c]! | C_UPDATE_ENDED;
    if (
      matches(REG.secondsAlarm, REG.seconds) &&
      matches(REG.minutesAlarm, REG.minutes) &&
      matches(REG.hoursAlarm, REG.hours)
    ) {
      flags |= C_ALARM;
    }
    if ((flags & this.#cmos[REG.b]! & (C_UPDATE_ENDED | C_ALARM)) !== 0) {
      flags |= C_INTERRUPT;
      this.#setIrq(true);
    }
    this.#cmos[REG.c] = flags;
    this.#schedule();
  }
}
