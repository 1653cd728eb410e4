/** What the panel's own tests share. */
import { Signal } from '@lumino/signaling';

import { Fields, IApi, Refusal } from './api';
import {
  Documents,
  Notebook,
  Overview,
  Parameter,
  Resource,
  Run,
  Verbs
} from './generated/documents';
import { IFrontNotebook } from './model';

export function run(id: string, more: Partial<Run> = {}): Run {
  return {
    id,
    notebook: '/home/ann/churn.ipynb',
    state: 'queued',
    tracking_id: '',
    url: '',
    directory: '',
    parent: '',
    schedule: '',
    parameters: {},
    defaults: {},
    code_commit: '',
    code_note: '',
    metrics: {},
    datasets: [],
    started: null,
    ended: null,
    cells_done: 0,
    cells: 0,
    last_line: '',
    peak_memory: 0,
    failure: null,
    verdict: null,
    model: '',
    pull_request: null,
    best: '',
    children: 0,
    executor: 'local',
    address: '',
    doing: '',
    cached_from: '',
    placement: { on: '', profile: '', gpu: null, cpu: '', memory: null, image: '' },
    pod_seconds: 0,
    ...more
  };
}

export function parameter(name: string, more: Partial<Parameter> = {}): Parameter {
  return {
    name,
    type: 'float',
    default: 0.1,
    default_text: '0.1',
    has_default: true,
    choices: [],
    help: '',
    is_inferred: false,
    ...more
  };
}

export function notebook(...parameters: Parameter[]): Notebook {
  return {
    path: '/home/ann/churn.ipynb',
    language: 'python',
    kernel: 'python3',
    parameters,
    parameters_cell: 0,
    is_tagged: true,
    fingerprint: '',
    cells: 3
  };
}

export const PROJECT: Overview = {
  name: 'churn',
  folder: '/home/ann',
  path: '',
  root: '/home/ann',
  initialized: true,
  boot: 'x',
  number: 0,
  executor: 'local',
  executors: ['local'],
  kubeflow: '',
  profiles: [],
  environments: [
    {
      name: 'prod',
      namespace: 'models',
      target: 'rollout',
      alias: 'champion',
      has_cluster: false,
      weights: [5, 100],
      minutes: 10,
      gates: []
    }
  ],
  gates: {},
  tracking: 'sqlite',
  experiment: 'churn',
  forge: 'local',
  repository: 'gitops.git'
};

export function refusal(message: string, hint = '', status = 422): Refusal {
  return new Refusal(
    { type: 'UserError', message, hint, exit_code: 2, verdict: null },
    status
  );
}

/** A server that answers as it is told to, and remembers what it was asked. */
export class FakeApi implements IApi {
  asked: [string, Record<string, unknown>][] = [];
  overview: Overview = PROJECT;
  answers: Record<string, unknown> = {};

  async ask<V extends keyof Documents & keyof Verbs>(
    verb: V,
    fields: Fields<V>
  ): Promise<{ document: Documents[V]; notes: string[] }> {
    this.asked.push([verb, fields as Record<string, unknown>]);
    const answer = this.answers[verb];
    const document = typeof answer === 'function' ? answer(fields) : answer;
    if (document instanceof Error) {
      throw document;
    }
    if (document === undefined) {
      throw refusal(`nobody said what ${verb} gives`);
    }
    return { document: document as Documents[V], notes: [] };
  }

  async project(): Promise<Overview> {
    return this.overview;
  }

  async resource(): Promise<Resource> {
    throw refusal('there is none');
  }
}

export class FakeFront implements IFrontNotebook {
  path = 'churn.ipynb';
  isDirty = false;
  canTag = true;
  saves = 0;
  changed = new Signal<this, void>(this);

  async save(): Promise<void> {
    this.saves += 1;
    this.isDirty = false;
    this.changed.emit();
  }

  async tagCell(): Promise<void> {
    await this.save();
  }
}

/** Let everything that was begun come to its end. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) {
    await Promise.resolve();
  }
}
