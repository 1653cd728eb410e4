/** How numbers, times and states are written. */
import { Float, Run, RunState, Stage } from './generated/documents';

export function number(value: Float | null | undefined): string {
  if (value === null || value === undefined) {
    return '–';
  }
  const read = Number(value);
  return Number.isFinite(read) ? String(Number(read.toPrecision(4))) : String(value);
}

export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const parts: string[] = [];
  let left = whole;
  for (const [unit, size] of [
    ['d', 86400],
    ['h', 3600],
    ['m', 60],
    ['s', 1]
  ] as [string, number][]) {
    const count = Math.floor(left / size);
    left -= count * size;
    if (count || (unit === 's' && !parts.length)) {
      parts.push(`${count}${unit}`);
    }
  }
  return parts.slice(0, 2).join('');
}

export function took(run: Run, now: number): string {
  if (!run.started) {
    return '';
  }
  const end = run.ended ? Date.parse(run.ended) : now;
  return duration((end - Date.parse(run.started)) / 1000);
}

export function when(time: string | null): string {
  return time
    ? new Date(time).toLocaleString(undefined, {
        dateStyle: 'medium',
        timeStyle: 'short'
      })
    : '–';
}

export function size(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value.toFixed(unit && value < 10 ? 1 : 0)} ${units[unit]}`;
}

export function base(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

/** A state's mark: it is told by shape and word, colour only adds to it. */
export const MARKS: Record<RunState, string> = {
  queued: '…',
  running: '▶',
  succeeded: '✔',
  failed: '✘',
  cancelled: '■'
};

export const STAGES: Record<Stage, [string, string]> = {
  undeployed: ['–', 'idle'],
  unseen: ['–', 'idle'],
  syncing: ['…', 'busy'],
  starting: ['…', 'busy'],
  canary: ['▶', 'busy'],
  paused: ['■', 'warn'],
  aborted: ['✘', 'bad'],
  degraded: ['✘', 'bad'],
  healthy: ['✔', 'good']
};

export const TONES: Record<RunState, string> = {
  queued: 'idle',
  running: 'busy',
  succeeded: 'good',
  failed: 'bad',
  cancelled: 'warn'
};
