import { StateDB } from '@jupyterlab/statedb';

import { withParameter } from '../form';
import { Model } from '../model';
import {
  FakeApi,
  FakeFront,
  notebook,
  parameter,
  refusal,
  run,
  settled
} from '../testing';

const LR = parameter('lr');

function made() {
  const api = new FakeApi();
  api.answers = { inspect: notebook(LR), runs: { runs: [run('a-1')], next: '' } };
  const front = new FakeFront();
  const state = new StateDB();
  const model = new Model(api, front, state, null);
  return { api, front, state, model };
}

it('what was filled in survives saving, and comes back after a reload', async () => {
  jest.useFakeTimers();
  const { api, front, state, model } = made();
  await model.readNotebook();
  model.edit(withParameter(model.form, LR, '0.5'));
  await front.save();
  await model.readNotebook();
  expect(model.form.parameters).toEqual({ lr: '0.5' });
  await jest.advanceTimersByTimeAsync(1000);
  model.dispose();
  const again = new Model(api, new FakeFront(), state, null);
  await again.readNotebook();
  expect(again.form.parameters).toEqual({ lr: '0.5' });
  again.dispose();
  jest.useRealTimers();
});

it('another notebook has a form of its own', async () => {
  const { front, model } = made();
  await model.readNotebook();
  model.edit(withParameter(model.form, LR, '0.5'));
  front.path = 'other.ipynb';
  front.changed.emit();
  await settled();
  expect(model.form.parameters).toEqual({});
  model.dispose();
});

it('a refusal stays beside what was known before', async () => {
  const { api, model } = made();
  await model.readRuns();
  api.answers.runs = refusal('the tracking server does not answer', 'start it', 503);
  await model.readRuns();
  expect(model.runs.data?.runs).toHaveLength(1);
  expect(model.runs.error?.fault.hint).toBe('start it');
  model.dispose();
});

it('the next page is asked for once, and from where the last ended', async () => {
  const { api, model } = made();
  api.answers.runs = (fields: { after?: string }) =>
    fields.after
      ? { runs: [run('b-2')], next: '' }
      : { runs: [run('a-1')], next: 'cursor' };
  await model.readRuns();
  await Promise.all([model.moreRuns(), model.moreRuns()]);
  expect(model.runs.data?.runs.map(one => one.id)).toEqual(['a-1', 'b-2']);
  const afters = api.asked.filter(([, fields]) => fields.after);
  expect(afters).toHaveLength(1);
  await model.moreRuns();
  expect(api.asked.filter(([, fields]) => fields.after)).toHaveLength(1);
  model.dispose();
});

it('an older answer does not take the place of a newer one', async () => {
  const { api, model } = made();
  let first: (value: unknown) => void = () => undefined;
  const slow = new Promise(resolve => (first = resolve));
  const asked = jest.spyOn(api, 'ask');
  asked.mockImplementationOnce(async () => {
    await slow;
    return { document: { runs: [run('old')], next: '' }, notes: [] } as never;
  });
  const older = model.readRuns();
  await model.readRuns();
  first(null);
  await older;
  expect(model.runs.data?.runs[0].id).toBe('a-1');
  model.dispose();
});

it('events move the runs that are shown, and an unknown run is looked up', async () => {
  const { api, model } = made();
  await model.readRuns();
  const moved = (id: string) =>
    ({
      kind: 'run_moved',
      run: id,
      state: 'running',
      time: '2026-11-24T12:30:00Z',
      tracking_id: '',
      url: '',
      failure: null
    }) as const;
  model.apply(moved('a-1'));
  expect(model.runs.data?.runs[0].state).toBe('running');
  const before = api.asked.length;
  model.apply(moved('theirs-1'));
  await settled();
  expect(api.asked.length).toBe(before + 1);
  model.dispose();
});

it('nothing is proposed before it was previewed', async () => {
  const { api, model } = made();
  await model.readProject();
  const deployment = {
    version: {},
    environment: {},
    files: { a: 'x' },
    body: '',
    diff: '',
    pull_request: null
  };
  api.answers.deploy = deployment;
  api.answers.status = { statuses: [] };
  api.answers.history = { deployments: [] };
  model.propose('churn/2');
  await settled();
  expect(model.proposal?.preview.data).toBe(deployment);
  const deploys = () =>
    api.asked.filter(([verb]) => verb === 'deploy').map(([, f]) => f.dry_run);
  expect(deploys()).toEqual([true]);
  await model.openPull();
  expect(deploys()).toEqual([true, false]);
  expect(model.proposal).toBeNull();
  model.dispose();
});
