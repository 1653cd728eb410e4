import {
  afterwards,
  EMPTY,
  fieldOf,
  fromRun,
  isChanged,
  request,
  withParameter
} from '../form';
import { notebook, parameter, run } from '../testing';

const LR = parameter('lr');
const KIND = parameter('kind', { type: 'str', default: 'tree', default_text: "'tree'" });
const NEEDED = parameter('target', {
  has_default: false,
  default: null,
  default_text: ''
});
const NOTEBOOK = notebook(LR, KIND, NEEDED);

it('only what differs from the notebook’s own values is asked for', () => {
  let form = withParameter(EMPTY, LR, '0.5');
  expect(isChanged(LR, form)).toBe(true);
  expect(request(form, NOTEBOOK).parameters).toEqual({ lr: '0.5' });
  form = withParameter(form, LR, '0.1');
  expect(isChanged(LR, form)).toBe(false);
  expect(request(form, NOTEBOOK).parameters).toEqual({});
  // What the notebook does not declare any more is not sent.
  form = withParameter(form, parameter('gone'), '7');
  expect(request(form, NOTEBOOK).parameters).toEqual({});
});

it('values of a run fill the form, its own values are none of it', () => {
  const done = run('a-1', { parameters: { lr: 0.5, kind: 'tree' } });
  const form = fromRun(withParameter(EMPTY, KIND, 'forest'), NOTEBOOK, done);
  expect(form.parameters).toEqual({ lr: '0.5' });
});

it('half a row of data is no data, and nowhere is no deployment', () => {
  const form = {
    ...EMPTY,
    data: [
      { name: ' train ', uri: ' s3://d/t.csv ' },
      { name: 'x', uri: '' }
    ],
    gates: ' accuracy >= 0.9 \n\n auc >= 0.8',
    deploy: 'prod'
  };
  expect(request(form, NOTEBOOK).data).toEqual({ train: 's3://d/t.csv' });
  expect(afterwards(form)).toEqual({
    gates: ['accuracy >= 0.9', 'auc >= 0.8'],
    register: '',
    deploy: ''
  });
  expect(afterwards({ ...form, register: ' churn ' }).deploy).toBe('prod');
});

it('a profile is for Kubeflow alone', () => {
  const form = { ...EMPTY, profile: 'gpu' };
  expect(request({ ...form, on: 'local' }, NOTEBOOK).profile).toBe('');
  expect(request({ ...form, on: 'kubeflow' }, NOTEBOOK).profile).toBe('gpu');
});

it('a message is shown at the field that it names', () => {
  expect(fieldOf("lr = 'abc' is not float", NOTEBOOK)).toBe('lr');
  expect(fieldOf('the notebook has no cell', NOTEBOOK)).toBe('');
  expect(fieldOf('lr and kind exclude each other', NOTEBOOK)).toBe('');
});
