import { nullTranslator } from '@jupyterlab/translation';
import * as React from 'react';
import { act } from 'react';
import { createRoot, Root } from 'react-dom/client';

import { Model } from '../model';
import { App } from '../panel';
import {
  FakeApi,
  FakeFront,
  notebook,
  parameter,
  PROJECT,
  refusal,
  run,
  settled
} from '../testing';
import { Diff } from '../views/deployments';
import { Words } from '../views/bits';

const trans = nullTranslator.load('mlops_nb');
let root: Root;
let node: HTMLElement;

beforeEach(() => {
  (globalThis as Record<string, unknown>).IS_REACT_ACT_ENVIRONMENT = true;
  (globalThis as Record<string, unknown>).ResizeObserver = class {
    observe() {}
    disconnect() {}
  };
  node = document.body.appendChild(document.createElement('div'));
  root = createRoot(node);
});

afterEach(() => {
  act(() => root.unmount());
  node.remove();
});

async function shown(api: FakeApi, front = new FakeFront()): Promise<Model> {
  const model = new Model(api, front, null, null);
  await act(async () => {
    root.render(
      <Words.Provider value={trans}>
        <App
          model={model}
          trans={trans}
          rendermime={null}
          openNotebook={async () => undefined}
        />
      </Words.Provider>
    );
  });
  await act(async () => {
    await model.fill();
    await settled();
    await new Promise(resolve => requestAnimationFrame(resolve));
  });
  return model;
}

function button(name: string): HTMLButtonElement {
  // A view's own buttons come before tabs of the same name.
  const found = [
    ...node.querySelectorAll<HTMLButtonElement>('#mlops-view button'),
    ...node.querySelectorAll('button')
  ].find(one => one.textContent?.trim() === name);
  if (!found) {
    throw new Error(`there is no button ${name}: ${node.textContent}`);
  }
  return found;
}

async function press(name: string): Promise<void> {
  await act(async () => {
    button(name).click();
    await settled();
    await new Promise(resolve => requestAnimationFrame(resolve));
  });
}

it('every field has a label, and a wrong value is told at its field', async () => {
  const api = new FakeApi();
  api.answers = {
    inspect: notebook(parameter('lr', { help: 'learning rate' })),
    runs: { runs: [], next: '' },
    train: refusal("lr = 'abc' is not float", 'give a number')
  };
  const model = await shown(api);
  for (const input of node.querySelectorAll('input, select, textarea')) {
    const labelled =
      input.getAttribute('aria-label') || node.querySelector(`label[for="${input.id}"]`);
    expect(labelled).toBeTruthy();
  }
  await press('Run');
  const field = node.querySelector('#mlops-parameter-lr');
  expect(field?.getAttribute('aria-invalid')).toBe('true');
  expect(node.querySelector('#mlops-parameter-lr-error')?.textContent).toContain(
    'is not float'
  );
  expect(node.textContent).toContain('→ give a number');
  model.dispose();
});

it('unsaved changes are saved before the run, and the run is looked at', async () => {
  const api = new FakeApi();
  const started = run('churn-1');
  api.answers = {
    inspect: notebook(parameter('lr')),
    runs: { runs: [], next: '' },
    train: started,
    show: started
  };
  const front = new FakeFront();
  front.isDirty = true;
  const model = await shown(api, front);
  await press('Run');
  expect(front.saves).toBe(1);
  expect(model.run.id).toBe('churn-1');
  expect(node.querySelector('article')?.getAttribute('aria-label')).toBe('Run churn-1');
  model.dispose();
});

it('a folder that is no project is set up by one button', async () => {
  const api = new FakeApi();
  api.overview = { ...PROJECT, initialized: false, forge: '', environments: [] };
  api.answers = { inspect: notebook(), runs: { runs: [], next: '' }, init: {} };
  const model = await shown(api);
  await press('Setup');
  await press('Set up this folder');
  expect(api.asked.some(([verb]) => verb === 'init')).toBe(true);
  model.dispose();
});

it('of ten thousand runs those that can be seen are drawn', async () => {
  const api = new FakeApi();
  const many = Array.from({ length: 10_000 }, (_, at) => run(`churn-${at}`));
  api.answers = { inspect: notebook(), runs: { runs: many, next: '' } };
  const model = await shown(api);
  await press('Runs');
  expect(node.querySelectorAll('.mlops-RunRow').length).toBeLessThan(40);
  expect(node.querySelector<HTMLElement>('.mlops-Rows > ul')?.style.height).toBe(
    '580000px'
  );
  model.dispose();
});

it('arrow keys lead through the tabs', async () => {
  const api = new FakeApi();
  api.answers = {
    inspect: notebook(),
    runs: { runs: [], next: '' },
    models: { versions: [] }
  };
  const model = await shown(api);
  const key = async (name: string) =>
    act(async () => {
      const tab = node.querySelector('[role=tab][aria-selected=true]');
      tab?.dispatchEvent(new KeyboardEvent('keydown', { key: name, bubbles: true }));
      await settled();
      await new Promise(resolve => requestAnimationFrame(resolve));
    });
  await key('ArrowLeft');
  expect(model.tab).toBe('setup');
  await key('Home');
  expect(model.tab).toBe('run');
  model.dispose();
});

it('a diff tells by its signs what is new and what is gone', () => {
  act(() =>
    root.render(
      <Words.Provider value={trans}>
        <Diff text={'--- a/x\n+++ b/x\n@@ -1 +1 @@\n-old\n+new\n same'} />
      </Words.Provider>
    )
  );
  const kinds = [...node.querySelectorAll('pre > div')].map(line => line.className);
  expect(kinds.map(kind => kind.replace('mlops-Diff-', ''))).toEqual([
    'head',
    'head',
    'head',
    'gone',
    'new',
    'same'
  ]);
});
