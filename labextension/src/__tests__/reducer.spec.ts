import { Run, Status } from '../generated/documents';
import {
  advance,
  missed,
  refreshed,
  trail,
  withPage,
  withRun,
  withStatus
} from '../reducer';
import { run } from '../testing';

const TIME = '2026-11-24T12:30:00Z';

describe('a run', () => {
  it('goes on with what happens to it, and not with what happens to others', () => {
    const begun = advance(run('a-1'), {
      kind: 'run_moved',
      run: 'a-1',
      state: 'running',
      time: TIME,
      tracking_id: '0f',
      url: '',
      failure: null
    });
    expect(begun.state).toBe('running');
    expect(begun.started).toBe(TIME);
    expect(begun.tracking_id).toBe('0f');
    const on = advance(begun, {
      kind: 'progress',
      run: 'a-1',
      time: TIME,
      cell: 2,
      cells: 3,
      done: 1,
      elapsed: 4,
      last_line: 'epoch 1',
      memory: 1,
      peak_memory: 2
    });
    expect([on.cells_done, on.cells, on.last_line]).toEqual([1, 3, 'epoch 1']);
    const other = advance(on, { kind: 'doing', run: 'b-2', time: TIME, text: 'x' });
    expect(other).toBe(on);
    const ended = advance(on, {
      kind: 'run_moved',
      run: 'a-1',
      state: 'succeeded',
      time: TIME,
      tracking_id: '',
      url: '',
      failure: null
    });
    expect([ended.state, ended.ended, ended.tracking_id]).toEqual([
      'succeeded',
      TIME,
      '0f'
    ]);
  });

  it('keeps the way of a metric for its picture, numbers only', () => {
    const logged = (value: number | 'NaN') =>
      ({ kind: 'metric_logged', run: 'a-1', time: TIME, name: 'loss', value }) as const;
    let trails = trail({}, logged(0.9));
    trails = trail(trails, logged('NaN'));
    trails = trail(trails, logged(0.5));
    expect(trails['a-1'].loss).toEqual([0.9, 0.5]);
    expect(advance(run('a-1'), logged(0.5)).metrics).toEqual({ loss: 0.5 });
  });
});

describe('the list', () => {
  const ids = (runs: readonly Run[]) => runs.map(one => one.id).join(' ');

  it('takes new runs in front, and replaces known ones where they stand', () => {
    const list = withRun([run('b'), run('a')], run('c'));
    expect(ids(list)).toBe('c b a');
    expect(withRun(list, { ...run('b'), model: 'm/1' })[1].model).toBe('m/1');
  });

  it('grows by pages without telling a run twice', () => {
    expect(ids(withPage([run('c'), run('b')], [run('b'), run('a')]))).toBe('c b a');
  });

  it('keeps older pages when the newest is read again, and drops what was deleted', () => {
    const known = ['d', 'c', 'b', 'a'].map(id => run(id));
    expect(ids(refreshed(known, [run('e'), run('d'), run('b')], false))).toBe('e d b a');
    expect(ids(refreshed(known, [run('d')], true))).toBe('d');
  });
});

it('a canary that moved replaces what was known of its place', () => {
  const status = (model: string, summary: string) =>
    ({ model, environment: 'prod', summary }) as Status;
  const found = withStatus(
    [status('m', 'at 5 %'), status('n', 'x')],
    status('m', 'at 25 %')
  );
  expect(found.map(one => one.summary)).toEqual(['at 25 %', 'x']);
});

it('a gap, and a server that started anew, are seen', () => {
  const at = (boot: string, number: number) => ({ boot, number });
  expect(missed(null, at('x', 7))).toBe(false);
  expect(missed(at('x', 6), at('x', 7))).toBe(false);
  expect(missed(at('x', 5), at('x', 7))).toBe(true);
  expect(missed(at('x', 6), at('y', 7))).toBe(true);
});
