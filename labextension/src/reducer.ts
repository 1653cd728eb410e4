/** What events make of what is shown; pure. */
import { MlopsEvent, Run, RunState, Status } from './generated/documents';

export const FINAL: ReadonlySet<RunState> = new Set<RunState>([
  'succeeded',
  'failed',
  'cancelled'
]);

/** Values that a metric took while it was looked at, by run and name. */
export type Trails = Record<string, Record<string, number[]>>;

const LONGEST_TRAIL = 200;

/** Give a run as it is after an event about it. */
export function advance(run: Run, event: MlopsEvent): Run {
  if (!('run' in event) || event.run !== run.id) {
    return run;
  }
  switch (event.kind) {
    case 'run_moved': {
      const final = FINAL.has(event.state);
      return {
        ...run,
        state: event.state,
        tracking_id: event.tracking_id || run.tracking_id,
        url: event.url || run.url,
        failure: event.failure,
        doing: final ? '' : run.doing,
        started: run.started ?? event.time,
        ended: final ? event.time : null
      };
    }
    case 'progress':
      return {
        ...run,
        cells: event.cells,
        cells_done: event.done,
        last_line: event.last_line,
        peak_memory: event.peak_memory
      };
    case 'doing':
      return { ...run, doing: event.text };
    case 'metric_logged':
      return { ...run, metrics: { ...run.metrics, [event.name]: event.value } };
    case 'judged':
      return { ...run, verdict: event.verdict };
    case 'registered':
      return { ...run, model: event.model };
    case 'proposed':
      return { ...run, pull_request: event.pull_request };
    default:
      return run;
  }
}

/** Add a metric's value to its trail. */
export function trail(trails: Trails, event: MlopsEvent): Trails {
  if (event.kind !== 'metric_logged') {
    return trails;
  }
  const value = Number(event.value);
  if (!Number.isFinite(value)) {
    return trails;
  }
  const ofRun = trails[event.run] ?? {};
  const before = ofRun[event.name] ?? [];
  return {
    ...trails,
    [event.run]: {
      ...ofRun,
      [event.name]: [...before, value].slice(-LONGEST_TRAIL)
    }
  };
}

/** Put a run into a list that is newest first, or replace it there. */
export function withRun(runs: readonly Run[], run: Run): Run[] {
  return runs.some(one => one.id === run.id)
    ? runs.map(one => (one.id === run.id ? run : one))
    : [run, ...runs];
}

/** Put the next page after what is there; a run that is in both stays where it is. */
export function withPage(runs: readonly Run[], page: readonly Run[]): Run[] {
  const known = new Set(runs.map(run => run.id));
  return [...runs, ...page.filter(run => !known.has(run.id))];
}

/** Bring the newest page up to date and keep the older ones that were read. */
export function refreshed(
  runs: readonly Run[],
  newest: readonly Run[],
  complete: boolean
): Run[] {
  if (complete) {
    return [...newest];
  }
  const known = new Set(newest.map(run => run.id));
  const last = newest.length
    ? runs.findIndex(run => run.id === newest[newest.length - 1].id)
    : -1;
  // What stood among the newest and is no longer there was deleted.
  return [...newest, ...runs.slice(last + 1).filter(run => !known.has(run.id))];
}

/** Put what a cluster does into the list of deployments, in its place. */
export function withStatus(statuses: readonly Status[], status: Status): Status[] {
  const same = (one: Status) =>
    one.model === status.model && one.environment === status.environment;
  return statuses.some(same)
    ? statuses.map(one => (same(one) ? status : one))
    : [...statuses, status];
}

/** Whether something was missed between two numbered events. */
export function missed(
  last: { boot: string; number: number } | null,
  next: { boot: string; number: number }
): boolean {
  return last !== null && (last.boot !== next.boot || next.number !== last.number + 1);
}
