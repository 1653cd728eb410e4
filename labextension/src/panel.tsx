/** The panel in the side bar. */
import { ReactWidget } from '@jupyterlab/apputils';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { TranslationBundle } from '@jupyterlab/translation';
import { Message } from '@lumino/messaging';
import * as React from 'react';

import { Run } from './generated/documents';
import { Model, Tab } from './model';
import { Button, Words } from './views/bits';
import { DeploymentsView } from './views/deployments';
import { ModelsView } from './views/models';
import { RunView } from './views/run';
import { RunsView } from './views/runs';
import { SetupView } from './views/setup';

export interface IPanelOptions {
  model: Model;
  trans: TranslationBundle;
  rendermime: IRenderMimeRegistry | null;
  openNotebook: (run: Run) => Promise<void>;
  newNotebook?: () => void;
}

export class Panel extends ReactWidget {
  constructor(private options: IPanelOptions) {
    super();
    this.id = 'mlops-nb-panel';
    this.addClass('mlops-Panel');
    this.title.caption = options.trans.__('MLOps: run, judge, register, deploy');
  }

  protected render(): JSX.Element {
    return (
      <Words.Provider value={this.options.trans}>
        <App {...this.options} />
      </Words.Provider>
    );
  }

  protected onAfterShow(message: Message): void {
    super.onAfterShow(message);
    void this.options.model.fill();
  }

  protected onActivateRequest(): void {
    this.node.querySelector<HTMLElement>('[role=tab][aria-selected=true]')?.focus();
  }
}

/** Draw again when the model changed, once a frame at most. */
export function useModel(model: Model): void {
  const [, draw] = React.useReducer((count: number) => count + 1, 0);
  React.useEffect(() => {
    let asked = 0;
    const changed = () => {
      if (!asked) {
        asked = requestAnimationFrame(() => {
          asked = 0;
          draw();
        });
      }
    };
    model.changed.connect(changed);
    draw();
    return () => {
      model.changed.disconnect(changed);
      cancelAnimationFrame(asked);
    };
  }, [model]);
}

export function App(props: IPanelOptions): JSX.Element {
  const { model, trans } = props;
  useModel(model);
  const tabs: [Tab, string][] = [
    ['run', trans.__('Run')],
    ['runs', trans.__('Runs')],
    ['models', trans.__('Models')],
    ['deployments', trans.__('Deploy')],
    ['setup', trans.__('Setup')]
  ];
  const step = (event: React.KeyboardEvent, at: number) => {
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[
      event.key
    ];
    if (to === undefined) {
      return;
    }
    event.preventDefault();
    const [tab] = tabs[(to + tabs.length) % tabs.length];
    model.show(tab);
    document.getElementById(`mlops-tab-${tab}`)?.focus();
  };
  return (
    <>
      <div className="mlops-Tabs" role="tablist" aria-label="MLOps">
        {tabs.map(([tab, label], at) => (
          <button
            key={tab}
            id={`mlops-tab-${tab}`}
            type="button"
            role="tab"
            aria-selected={model.tab === tab}
            aria-controls="mlops-view"
            tabIndex={model.tab === tab ? 0 : -1}
            onClick={() => model.show(tab)}
            onKeyDown={event => step(event, at)}
          >
            {label}
          </button>
        ))}
      </div>
      {model.offline && (
        <div className="mlops-Offline" role="status">
          {trans.__('The server does not answer. What is shown is what was known last.')}
        </div>
      )}
      {model.said.length > 0 && (
        <div className="mlops-Said" role="status">
          {model.said.map((line, at) => (
            <div key={at}>{line}</div>
          ))}
          <Button
            tone="quiet"
            aria-label={trans.__('Dismiss')}
            onClick={() => model.say()}
          >
            ✕
          </Button>
        </div>
      )}
      <div
        id="mlops-view"
        className={`mlops-View mlops-mod-${model.tab}`}
        role="tabpanel"
        aria-labelledby={`mlops-tab-${model.tab}`}
      >
        <View {...props} />
      </div>
    </>
  );
}

function View(props: IPanelOptions): JSX.Element {
  const { model } = props;
  switch (model.tab) {
    case 'run':
      return <RunView model={model} newNotebook={props.newNotebook} />;
    case 'runs':
      return <RunsView model={model} openNotebook={props.openNotebook} />;
    case 'models':
      return <ModelsView model={model} />;
    case 'deployments':
      return <DeploymentsView model={model} rendermime={props.rendermime} />;
    case 'setup':
      return <SetupView model={model} />;
  }
}
